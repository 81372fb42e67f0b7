#include "train/learner.h"

#include <algorithm>
#include <array>
#include <map>

#include "io/tensors.h"
#include "io/torch_file.h"
#include "models/lewm/initialize.h"
#include "ops/image.h"
#include "train/checkpoint.h"
#include "train/schedule.h"

namespace orrery::train {

namespace {

// normalised RGB, mean over all pixels of the batch
std::array<float, 3> mean_colour(View<const u8, 5> pixels, BatchSums& sums) {
  // bytes of each colour, and how many of each; whole numbers, so exact in any order
  std::array<double, 4> totals = {};
  const i64 count = pixels.numel() / 3;
  for (i64 i = 0; i < count; ++i) {
    for (std::size_t c = 0; c < 3; ++c) totals[c] += pixels.data()[3 * i + static_cast<i64>(c)];
  }
  totals[3] = static_cast<double>(count);
  sums.add_up(View<double, 1>(totals.data(), {4}));
  std::array<float, 3> colour = {};
  for (std::size_t c = 0; c < 3; ++c) {
    const double mean = totals[c] / (255.0 * totals[3]);
    colour[c] = static_cast<float>((mean - static_cast<double>(kImageMean[c])) /
                                   static_cast<double>(kImageStd[c]));
  }
  return colour;
}

// of one configuration
void assign(const lewm::Weights& from, lewm::Weights& to) {
  const auto take = [](const Tensor& values, Tensor& into) {
    std::copy_n(values.bytes(), values.byte_count(), into.bytes());
  };
  take(from.parameters, to.parameters);
  take(from.buffers, to.buffers);
  to.batches_tracked = from.batches_tracked;
}

std::vector<AdamWGroup> groups_of(const TrainingSettings& settings, const lewm::Config& model) {
  std::vector<ParameterGroup> groups = settings.groups;
  if (learns_dynamics(settings)) {
    groups.insert(groups.begin(),
                  {.match = "(encoder|projector|observation_encoder)\\.", .lr_scale = 0.0});
  }
  return groups.empty() ? std::vector<AdamWGroup>{}
                        : stretches_of(groups, model, settings.weight_decay);
}

}  // namespace

Learner::Learner(Context& ctx, const lewm::Config& model, const TrainingSettings& settings,
                 Ranks& ranks)
    : ctx_(ctx),
      settings_(settings),
      ranks_(ranks),
      share_(ranks.share_of(ctx, settings.batch)),
      groups_(groups_of(settings, model)),
      weights_(ctx, model),
      optimiser_(weights_.moving.read()),
      state_(ctx, model, ranks.part_of(settings.batch).count, settings.num_steps, settings.unroll,
             settings.precision, learns_dynamics(settings)),
      losses_(ctx, settings.losses, LossSizes(state_)),
      feeder_(ctx) {
  if (settings.ema_decay > 0) average_.emplace(ctx, model);
  for (const AddedLoss& added : settings.losses.added) added.loss->settle_on(ctx);
  if (ctx.device() == Device::cpu) return;
  gradient_.settle_on(ctx, optimiser_.gradient);
  m_.settle_on(ctx, optimiser_.m);
  v_.settle_on(ctx, optimiser_.v);
  device_step_.emplace(ctx, DeviceStep::Parts{settings,
                                              groups_,
                                              weights_.moving,
                                              {gradient_.view(optimiser_.gradient),
                                               m_.view(optimiser_.m), v_.view(optimiser_.v)},
                                              state_,
                                              losses_,
                                              feeder_,
                                              ranks_,
                                              share_});
}

std::size_t Learner::device_bytes() const {
  if (!device_step_) return 0;
  const lewm::Layout layout = lewm::layout_of(weights_.moving.config());
  // weights and running statistics, of the average too, gradient and two moments
  const i64 models = average_ ? 2 : 1;
  const i64 floats = models * (layout.parameters + layout.buffers) + 3 * layout.parameters;
  const i64 side = weights_.moving.config().encoder.image_size;
  const i64 pixels = 2 * state_.windows() * state_.frames() * side * side * 3;
  return static_cast<std::size_t>(floats) * sizeof(float) + static_cast<std::size_t>(pixels) +
         state_.bytes() + losses_.bytes();
}

void Learner::begin(BatchSource& source) {
  weights_.moving.write([&](lewm::Weights& weights) {
    const bool vectors = weights.config.encoder.of_vectors();
    if (settings_.initialization == "scaled" && !vectors && !learns_dynamics(settings_)) {
      lewm::initialize_scaled(weights, settings_.seed,
                              mean_colour(source.training_batch(0).pixels, ranks_));
    } else {
      lewm::initialize(weights, settings_.seed);
    }
    if (vectors) {
      const ColumnStatistics* observed = source.observation_scale();
      check(observed != nullptr, "the model sees vectors, and the data has none to scale them by");
      lewm::set_observation_scale(weights, observed->mean, observed->deviation);
    }
  });
  begin_average();
  for (const AddedLoss& added : settings_.losses.added) added.loss->begin(settings_.seed);
}

// the average begins with what learns
void Learner::begin_average() {
  if (!average_) return;
  average_->moving.write([&](lewm::Weights& average) { assign(weights_.moving.read(), average); });
}

void Learner::begin_with(const std::filesystem::path& file, bool with_optimiser) {
  const std::string where = file.string();
  const lewm::Config& config = weights_.moving.config();
  weights_.moving.write([&](lewm::Weights& weights) {
    assign(lewm::weights_from_tensors(config, read_tensors(file), where), weights);
  });
  begin_average();
  if (!with_optimiser) return;

  const auto state = read_torch_optimiser(file);
  check(state.has_value(), where, " has no state of an optimiser (`optimizer_states`)");
  // under the names of the state dict, which the file's vocabulary decides
  const auto moments = [&](const TensorMap& named, Tensor& block) {
    std::map<std::string, const Tensor*> found;
    for (const auto& [name, tensor] : named) found[lewm::canonical_name(name)] = &tensor;
    for (const lewm::TensorSpec& spec : lewm::layout_of(config).specs) {
      if (!spec.trained) continue;
      const auto at = found.find(spec.name);
      check(at != found.end(), where, ": the optimiser knows no ", spec.name);
      const Tensor values = at->second->converted(DType::f32);
      std::copy_n(values.data<float>(), values.numel(), block.data<float>() + spec.offset);
    }
  };
  moments(state->first, optimiser_.m);
  moments(state->second, optimiser_.v);
  m_.push(optimiser_.m);
  v_.push(optimiser_.v);
  optimiser_.steps = state->steps;
}

void Learner::begin_encoder_with(const lewm::Weights& model, const std::string& where) {
  weights_.moving.write([&](lewm::Weights& weights) {
    TensorMap ours = lewm::tensors_from_weights(weights);
    for (const auto& [name, values] : lewm::tensors_from_weights(model)) {
      if (name.rfind("encoder.", 0) != 0 && name.rfind("projector.", 0) != 0 &&
          name.rfind("observation_encoder.", 0) != 0) {
        continue;
      }
      const auto at = ours.find(name);
      check(at != ours.end() && at->second.shape() == values.shape(), where, ": ", name,
            " has shape ", values.shape(), ", the model to be trained has ",
            at == ours.end() ? text("none") : text(at->second.shape()));
      at->second = values.clone();
    }
    assign(lewm::weights_from_tensors(weights.config, ours, where), weights);
  });
  begin_average();
}

double Learner::learning_rate(double base) const {
  const Schedule schedule{base, warmup_steps(settings_.warmup_fraction, settings_.steps),
                          settings_.steps};
  return schedule.learning_rate(optimiser_.steps);
}

double Learner::next_learning_rate() const { return learning_rate(settings_.lr); }

StepReport Learner::step(BatchSource& source) {
  const LearningStep learning{.schedule = learning_rate(1.0),
                              .clip = settings_.clip,
                              .batches = settings_.accumulate,
                              .share = share_};
  for (const AddedLoss& added : settings_.losses.added) added.loss->prepare_step(learning);
  const StepReport report = device_step_ ? step_on_device(source) : step_on_host(source);
  if (!report.finite) return report;
  if (average_) move_average();
  for (const AddedLoss& added : settings_.losses.added) added.loss->end_step();
  return report;
}

StepReport Learner::step_on_host(BatchSource& source) {
  const StepSettings settings{.losses = settings_.losses,
                              .adamw = adamw_of(settings_, next_learning_rate()),
                              .groups = groups_,
                              .clip = settings_.clip};
  // batches are counted over the whole run: each has windows, directions and masks of its own
  const i64 first = optimiser_.steps * settings_.accumulate;
  StepReport report;
  weights_.moving.write([&](lewm::Weights& weights) {
    begin_gradient(ctx_, optimiser_);
    for (const AddedLoss& added : settings_.losses.added) added.loss->begin_step(ctx_);
    for (i64 i = first; i < first + settings_.accumulate && report.finite; ++i) {
      draw_directions(settings_.seed, i + 1, losses_.directions());
      const lewm::PassMode mode{
          .dropout_seed = settings_.seed, .step = static_cast<u64>(i), .share = share_};
      add_gradient(ctx_, settings, mode, source.training_batch(i), weights, state_, losses_,
                   optimiser_, report);
    }
    if (report.finite) update(ctx_, settings, weights, optimiser_, report, share_.sums);
  });
  if (!report.finite) return report;
  const double well = 1;
  for (const AddedLoss& added : settings_.losses.added) {
    added.loss->learn(ctx_, View<const double, 1>(&well, {1}));
  }
  return report;
}

StepReport Learner::step_on_device(BatchSource& source) {
  const auto batch_at = [&](i64 index) { return source.training_batch(index); };
  const StepReport report = device_step_->run(optimiser_.steps, next_learning_rate(),
                                              settings_.steps * settings_.accumulate, batch_at);
  if (report.finite) ++optimiser_.steps;
  return report;
}

// early on the average follows quickly, so that it does not remember where the weights began
void Learner::move_average() {
  const auto t = static_cast<double>(optimiser_.steps);
  const auto share =
      static_cast<float>(1.0 - std::min(settings_.ema_decay, (1.0 + t) / (10.0 + t)));
  WorkingWeights &from = weights_.moving, &to = average_->moving;
  move_towards(ctx_, share, from.parameters(), to.parameters());
  move_towards(ctx_, share, from.buffers(), to.buffers());
  to.batches_tracked() = from.batches_tracked();
  to.touch();
}

void Learner::settle(BatchSource& source) {
  if (settings_.settle_batches == 0) return;
  settle(source, weights_);
  if (average_) settle(source, *average_);
}

void Learner::settle(BatchSource& source, Settling& weights) {
  if (weights.step == optimiser_.steps) return;
  if (!weights.settled) weights.settled.emplace(ctx_, weights.moving.config());
  WorkingWeights& copy = *weights.settled;
  copy.write([&](lewm::Weights& to) { assign(weights.moving.read(), to); });
  // the batches just learnt from
  const i64 next = optimiser_.steps * settings_.accumulate;
  for (i64 i = 0; i < settings_.settle_batches; ++i) {
    const i64 batch = std::max<i64>(0, next - settings_.settle_batches + i);
    feeder_.settle();
    const Batch shown = feeder_.show(source.training_batch(batch));
    const lewm::PassMode mode{
        .dropout_seed = settings_.seed, .step = static_cast<u64>(batch), .share = share_};
    forward(ctx_, copy.config(), copy.tensors(), state_, mode, shown);
    copy.touch();
  }
  feeder_.settle();
  weights.step = optimiser_.steps;
}

ValidationReport Learner::validate(BatchSource& source) {
  const WorkingWeights& weights = (average_ ? *average_ : weights_).current(optimiser_.steps);
  return train::validate(ctx_, settings_.losses, settings_.seed, settings_.validation_batches,
                         source, {weights.config(), weights.tensors(), state_, losses_, feeder_},
                         share_, &ranks_);
}

LatentSpread Learner::spread() const {
  const i64 width = state_.emb().size(2);
  const std::vector<float> rows = rows_from(ctx_, state_.emb());
  Covariance covariance(width);
  covariance.add({rows.data(), {static_cast<i64>(rows.size()) / width, width}});
  covariance.add_up(ranks_);
  return {covariance.mean_std(), covariance.participation_ratio()};
}

TensorMap Learner::contents() const {
  TensorMap contents;
  const lewm::Weights& weights = weights_.moving.read();
  contents.emplace("parameters", weights.parameters.clone());
  contents.emplace("buffers", weights.buffers.clone());
  contents.emplace("m", m_.copy(optimiser_.m));
  contents.emplace("v", v_.copy(optimiser_.v));
  contents.emplace("steps", tensor_of_count(optimiser_.steps));
  contents.emplace("batches_tracked", tensor_of_count(weights.batches_tracked));
  if (average_) {
    const lewm::Weights& average = average_->moving.read();
    contents.emplace("average.parameters", average.parameters.clone());
    contents.emplace("average.buffers", average.buffers.clone());
  }
  for (const AddedLoss& added : settings_.losses.added) {
    for (auto& [name, tensor] : added.loss->contents()) contents.emplace(name, tensor.clone());
  }
  return contents;
}

void Learner::restore(const TensorMap& contents, const std::string& where) {
  weights_.moving.write([&](lewm::Weights& weights) {
    restore_tensor(contents, "parameters", where, weights.parameters);
    restore_tensor(contents, "buffers", where, weights.buffers);
    weights.batches_tracked = count_from(contents, "batches_tracked", where);
  });
  restore_tensor(contents, "m", where, optimiser_.m);
  restore_tensor(contents, "v", where, optimiser_.v);
  m_.push(optimiser_.m);
  v_.push(optimiser_.v);
  optimiser_.steps = count_from(contents, "steps", where);
  if (average_) {
    average_->moving.write([&](lewm::Weights& average) {
      restore_tensor(contents, "average.parameters", where, average.parameters);
      restore_tensor(contents, "average.buffers", where, average.buffers);
      average.batches_tracked = weights_.moving.batches_tracked();
    });
  }
  for (const AddedLoss& added : settings_.losses.added) added.loss->restore(contents, where);
  if (device_step_) device_step_->begin_anew();
}

void Learner::take_from_rank_0() {
  if (ranks_.size() == 1) return;
  TensorMap all = contents();
  for (auto& [name, values] : all) ranks_.take_from_rank_0(values);
  restore(all, "rank 0");
}

void Learner::must_agree() const {
  if (ranks_.size() == 1) return;
  ranks_.must_agree(text("the weights of step ", optimiser_.steps),
                    fingerprint_of(weights_.moving.read().parameters));
  ranks_.must_agree(text("the running statistics of step ", optimiser_.steps),
                    fingerprint_of(weights_.moving.read().buffers));
}

}  // namespace orrery::train
