#include "eval/probes.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/random.h"
#include "eval/ridge.h"
#include "models/lewm/side_head.h"
#include "models/lewm/training_head.h"
#include "train/side_optimiser.h"

namespace orrery {

namespace {

// One number that is asked for.
struct Target {
  std::size_t quantity;
  i64 number;
  std::string name;
  double (*of)(double);
};

std::vector<Target> targets_of(const std::vector<StateQuantity>& quantities) {
  std::vector<Target> targets;
  for (std::size_t q = 0; q < quantities.size(); ++q) {
    const StateQuantity& quantity = quantities[q];
    if (quantity.angle) {
      targets.push_back({q, 0, quantity.name + " cos", [](double x) { return std::cos(x); }});
      targets.push_back({q, 0, quantity.name + " sin", [](double x) { return std::sin(x); }});
      continue;
    }
    for (i64 k = 0; k < quantity.width; ++k) {
      targets.push_back({q, k, text(quantity.name, " ", k), [](double x) { return x; }});
    }
  }
  return targets;
}

// frames whose numbers are all there
struct Rows {
  std::vector<float> latents;
  std::vector<double> wanted;
  i64 count = 0;
};

Rows rows_of(const std::vector<Target>& targets, const ProbeFrames& of) {
  Rows rows;
  for (i64 i = 0; i < of.frames.count(); ++i) {
    std::vector<double> row;
    for (const Target& target : targets) {
      row.push_back(target.of(of.states.at(target.quantity, i)[target.number]));
    }
    if (!std::all_of(row.begin(), row.end(), [](double x) { return std::isfinite(x); })) continue;
    const auto latent = of.frames.latent(i);
    rows.latents.insert(rows.latents.end(), latent.begin(), latent.end());
    rows.wanted.insert(rows.wanted.end(), row.begin(), row.end());
    ++rows.count;
  }
  return rows;
}

// sums for the errors and the correlation of one number
struct Sums {
  double error = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;

  void add(double predicted, double wanted) {
    error += (predicted - wanted) * (predicted - wanted);
    x += predicted;
    y += wanted;
    xx += predicted * predicted;
    yy += wanted * wanted;
    xy += predicted * wanted;
  }
  double correlation(double n) const {
    const double spread = (xx - x * x / n) * (yy - y * y / n);
    return spread > 0 ? (xy - x * y / n) / std::sqrt(spread) : 0.0;
  }
};

// What is asked, and the frames that can answer.
struct Question {
  Question(const ProbeFrames& learn, const ProbeFrames& judge) {
    quantities = learn.states.quantities();
    check(quantities.size() == judge.states.quantities().size(), "probing: ", quantities.size(),
          " quantities to learn, ", judge.states.quantities().size(), " to judge by");
    targets = targets_of(quantities);
    dim = learn.frames.latents.size(1);
    if (targets.empty()) return;
    seen = rows_of(targets, learn);
    held_out = rows_of(targets, judge);
  }
  bool answerable() const { return !targets.empty() && seen.count > 0 && held_out.count > 0; }
  i64 width() const { return static_cast<i64>(targets.size()); }
  View<const float, 2> latents(const Rows& rows) const {
    return {rows.latents.data(), {rows.count, dim}};
  }
  View<const double, 2> wanted(const Rows& rows) const {
    return {rows.wanted.data(), {rows.count, width()}};
  }

  std::vector<StateQuantity> quantities;
  std::vector<Target> targets;
  i64 dim = 0;
  Rows seen, held_out;
};

// of predictions for all frames held out, and what was wanted, both standardised
std::vector<ProbeScore> scores_of(const Question& question, View<const double, 2> predicted,
                                  View<const double, 2> wanted) {
  const auto count = static_cast<double>(predicted.size(0));
  std::vector<ProbeScore> scores;
  for (i64 k = 0; k < question.width(); ++k) {
    Sums sums;
    for (i64 i = 0; i < predicted.size(0); ++i) sums.add(predicted(i, k), wanted(i, k));
    const Target& target = question.targets[static_cast<std::size_t>(k)];
    const std::string& name = question.quantities[target.quantity].name;
    if (k == 0 || question.targets[static_cast<std::size_t>(k - 1)].quantity != target.quantity) {
      scores.push_back({.name = name});
    }
    scores.back().components.push_back({target.name, sums.error / count, sums.correlation(count)});
  }
  for (ProbeScore& score : scores) {
    const auto share = 1 / static_cast<double>(score.components.size());
    for (const ProbeScore::Component& component : score.components) {
      score.mse += share * component.mse;
      score.r += share * component.r;
    }
  }
  return scores;
}

// A table standardised, in the type that networks work with.
template <typename T>
Tensor standardised(const ColumnScale& scale, View<const T, 2> rows) {
  Tensor result = Tensor::zeros<float>({rows.size(0), rows.size(1)});
  const auto values = result.view<float, 2>();
  for (i64 r = 0; r < rows.size(0); ++r) {
    for (i64 c = 0; c < rows.size(1); ++c) {
      values(r, c) = static_cast<float>(scale.standardised(c, static_cast<double>(rows(r, c))));
    }
  }
  return result;
}

// A network that learns from rows of x to tell rows of y.
class Network {
 public:
  Network(const MlpProbe& how, i64 inputs, i64 outputs)
      : how_(how),
        head_("probe", {.input = inputs,
                        .hidden = how.hidden,
                        .output = outputs,
                        .norm = lewm::HeadConfig::Norm::none}),
        optimiser_("probe", how.lr, how.weight_decay, head_.parameters) {
    lewm::initialize(head_, mix(how.seed, kNetwork));
    Arena measure;
    lay_out(measure);
    memory_ = Block(measure.used());
    Arena arena(memory_);
    lay_out(arena);
  }

  void learn(Context& ctx, View<const float, 2> x, View<const float, 2> y) {
    const auto rows = static_cast<u64>(x.size(0));
    const lewm::Head gradient = head_.bound(optimiser_.gradient().data());
    const auto warm_up = std::max<i64>(1, how_.steps / 20);
    u64 drawn = 0;
    for (i64 step = 0; step < how_.steps; ++step) {
      for (i64 i = 0; i < how_.batch; ++i, ++drawn) {
        // every epoch has an order of its own
        const u64 order = mix(mix(how_.seed, kNetwork), drawn / rows);
        const auto row = static_cast<i64>(permuted_index(order, rows, drawn % rows));
        std::copy_n(&x(row, 0), x.size(1), &x_(i, 0));
        std::copy_n(&y(row, 0), y.size(1), &wanted_(i, 0));
      }
      optimiser_.begin_step(ctx);
      lewm::head_forward(ctx, head_.config, head_.tensors, true, {}, x_, state_, y_);
      const auto scale = 2.0f / static_cast<float>(y_.numel());
      for (i64 i = 0; i < y_.numel(); ++i) {
        dy_.data()[i] = scale * (y_.data()[i] - wanted_.data()[i]);
      }
      lewm::head_backward(ctx, head_.config, head_.tensors, gradient, {}, x_, state_, dy_, dx_);
      const double done = static_cast<double>(step) / static_cast<double>(how_.steps);
      const double schedule =
          std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(warm_up)) * 0.5 *
          (1 + std::cos(kPi * done));
      optimiser_.prepare_step({.schedule = schedule});
      optimiser_.learn(ctx, {}, head_.parameters.view<float, 1>());
      optimiser_.end_step();
    }
  }

  // of all rows of x, in double
  std::vector<double> predict(Context& ctx, View<const float, 2> x) {
    std::vector<double> result;
    for (i64 first = 0; first < x.size(0); first += how_.batch) {
      const i64 some = std::min(how_.batch, x.size(0) - first);
      std::copy_n(&x(first, 0), some * x.size(1), x_.data());
      lewm::head_forward(ctx, head_.config, head_.tensors, false, {}, x_, state_, y_);
      result.insert(result.end(), y_.data(), y_.data() + some * y_.size(1));
    }
    return result;
  }

 private:
  static constexpr u64 kNetwork = 0x3A7E;  // keeps this use of a seed apart
  static constexpr double kPi = 3.14159265358979323846;

  void lay_out(Arena& arena) {
    const auto& config = head_.config;
    x_ = arena.take<float, 2>({how_.batch, config.input});
    dx_ = arena.take<float, 2>({how_.batch, config.input});
    y_ = arena.take<float, 2>({how_.batch, config.output});
    dy_ = arena.take<float, 2>({how_.batch, config.output});
    wanted_ = arena.take<float, 2>({how_.batch, config.output});
    state_ = lewm::take_head(arena, config, how_.batch, Precision::f32);
  }

  MlpProbe how_;
  lewm::SideHead head_;
  train::SideOptimiser optimiser_;
  Block memory_;
  View<float, 2> x_, dx_, y_, dy_, wanted_;
  lewm::HeadState state_;
};

}  // namespace

std::vector<ProbeScore> probe(const ProbeFrames& learn, const ProbeFrames& judge, double penalty) {
  const Question question(learn, judge);
  if (!question.answerable()) return {};
  const Ridge ridge(question.latents(question.seen), question.wanted(question.seen), penalty);
  const auto latents = question.latents(question.held_out);
  const auto truth = question.wanted(question.held_out);
  const i64 count = latents.size(0), width = question.width();
  std::vector<double> predicted, wanted;
  for (i64 i = 0; i < count; ++i) {
    std::vector<double> row(&truth(i, 0), &truth(i, 0) + width);
    ridge.standardise(row);
    wanted.insert(wanted.end(), row.begin(), row.end());
    row = ridge.predict(latents[i]);
    predicted.insert(predicted.end(), row.begin(), row.end());
  }
  return scores_of(question, View<const double, 2>(predicted.data(), {count, width}),
                   View<const double, 2>(wanted.data(), {count, width}));
}

std::vector<ProbeScore> mlp_probe(Context& ctx, const ProbeFrames& learn, const ProbeFrames& judge,
                                  const MlpProbe& how) {
  check(how.steps >= 0 && how.hidden >= 1 && how.batch >= 1, "probing: a network of ", how.hidden,
        " units that learns ", how.steps, " steps of ", how.batch,
        " frames, at least one of each was needed");
  const Question question(learn, judge);
  if (!question.answerable() || how.steps == 0) return {};
  std::optional<Context> own;
  Context& host = ctx.device() == Device::cpu ? ctx : own.emplace(Context::Options{});
  const auto latents = question.latents(question.seen);
  const ColumnScale of_latents = ColumnScale::of(latents);
  const ColumnScale of_targets = ColumnScale::of(question.wanted(question.seen));
  Network network(how, question.dim, question.width());
  {
    const Tensor x = standardised(of_latents, latents);
    const Tensor y = standardised(of_targets, question.wanted(question.seen));
    network.learn(host, x.view<float, 2>(), y.view<float, 2>());
  }
  const Tensor x = standardised(of_latents, question.latents(question.held_out));
  const std::vector<double> predicted = network.predict(host, x.view<float, 2>());
  const auto truth = question.wanted(question.held_out);
  std::vector<double> wanted;
  for (i64 i = 0; i < truth.size(0); ++i) {
    for (i64 k = 0; k < truth.size(1); ++k) {
      wanted.push_back(of_targets.standardised(k, truth(i, k)));
    }
  }
  return scores_of(question,
                   View<const double, 2>(predicted.data(), {truth.size(0), truth.size(1)}),
                   View<const double, 2>(wanted.data(), {truth.size(0), truth.size(1)}));
}

}  // namespace orrery
