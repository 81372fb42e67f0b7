#include "train/losses.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "ops/sigreg.h"

namespace orrery::train {

namespace {

using Values = View<const float, 3>;
using Sums = View<double, 3>;

// B, T, D of the latents here
struct Sizes {
  i64 windows, frames, width;
};

Sizes sizes_of(Values z) { return {z.size(0), z.size(1), z.size(2)}; }

// Means over windows. `windows` is how many the batch has: what those here add to the mean is
// returned.

// pred predicts the frames of z from `first` on
double prediction_loss(Values z, Values pred, i64 first, i64 windows, double weight, Sums dz,
                       View<float, 3> dpred) {
  const auto count = static_cast<double>(windows * pred.size(1) * pred.size(2));
  double sum = 0;
  for (i64 b = 0; b < pred.size(0); ++b) {
    for (i64 t = 0; t < pred.size(1); ++t) {
      for (i64 d = 0; d < pred.size(2); ++d) {
        const double error = static_cast<double>(pred(b, t, d)) - z(b, first + t, d);
        sum += error * error;
        const double slope = weight * 2.0 * error / count;
        dpred(b, t, d) = static_cast<float>(slope);
        dz(b, first + t, d) -= slope;
      }
    }
  }
  return sum / count;
}

double temporal_alignment(Values z, i64 windows, double weight, Sums dz) {
  const Sizes n = sizes_of(z);
  const auto count = static_cast<double>(windows * (n.frames - 1) * n.width);
  double sum = 0;
  for (i64 b = 0; b < n.windows; ++b) {
    for (i64 t = 0; t + 1 < n.frames; ++t) {
      for (i64 d = 0; d < n.width; ++d) {
        const double step = static_cast<double>(z(b, t + 1, d)) - z(b, t, d);
        sum += step * step;
        const double slope = weight * 2.0 * step / count;
        dz(b, t + 1, d) += slope;
        dz(b, t, d) -= slope;
      }
    }
  }
  return sum / count;
}

double straightening(Values z, i64 windows, double weight, Sums dz) {
  constexpr double kEps = 1e-8;  // PyTorch's floor of each length
  const Sizes n = sizes_of(z);
  const auto count = static_cast<double>(windows * (n.frames - 2));
  if (count <= 0) return 0;
  double sum = 0;
  for (i64 b = 0; b < n.windows; ++b) {
    for (i64 t = 0; t + 2 < n.frames; ++t) {
      const auto velocity = [&](i64 at, i64 d) {
        return static_cast<double>(z(b, at + 1, d)) - z(b, at, d);
      };
      double dot = 0, first = 0, second = 0;
      for (i64 d = 0; d < n.width; ++d) {
        const double u = velocity(t, d), v = velocity(t + 1, d);
        dot += u * v;
        first += u * u;
        second += v * v;
      }
      const double u_length = std::max(std::sqrt(first), kEps);
      const double v_length = std::max(std::sqrt(second), kEps);
      const double cosine = dot / (u_length * v_length);
      sum -= cosine;
      // d cos / du = v / (|u| |v|) - cos u / |u|^2, the second part only where the length counts
      const double u_part = std::sqrt(first) > kEps ? cosine / first : 0.0;
      const double v_part = std::sqrt(second) > kEps ? cosine / second : 0.0;
      const double factor = -weight / count;
      for (i64 d = 0; d < n.width; ++d) {
        const double u = velocity(t, d), v = velocity(t + 1, d);
        const double du = factor * (v / (u_length * v_length) - u_part * u);
        const double dv = factor * (u / (u_length * v_length) - v_part * v);
        dz(b, t, d) -= du;
        dz(b, t + 1, d) += du - dv;
        dz(b, t + 2, d) += dv;
      }
    }
  }
  return sum / count;
}

// What a variance or covariance is taken over. Members of a group may lie in several processes.
struct Over {
  double groups, members;  // of the whole batch
  BatchSums* sums;         // none: all members are here
};

void add_up(BatchSums* sums, View<double, 1> values) {
  if (sums != nullptr) sums->add_up(values);
}

// mean [groups, D] of x [groups, members, D]
template <typename T>
void mean_over_members(View<T, 3> x, const Over& over, View<double, 2> mean) {
  for (i64 g = 0; g < x.size(0); ++g) {
    for (i64 d = 0; d < x.size(2); ++d) {
      double sum = 0;
      for (i64 m = 0; m < x.size(1); ++m) sum += x(g, m, d);
      mean(g, d) = sum / over.members;
    }
  }
  add_up(over.sums, mean.flat());
}

// to = (or +=) from minus its mean over the batch; all [T, B, D]. The gradient of centred values,
// centred itself, is that of the values.
template <typename T>
void centre(View<T, 3> from, const Over& batch, View<double, 2> mean, bool add, Sums to) {
  mean_over_members(from, batch, mean);
  for (i64 t = 0; t < from.size(0); ++t) {
    for (i64 b = 0; b < from.size(1); ++b) {
      for (i64 d = 0; d < from.size(2); ++d) {
        to(t, b, d) = (add ? to(t, b, d) : 0.0) + from(t, b, d) - mean(t, d);
      }
    }
  }
}

// c [groups, members, D]: mean over groups and D of relu(1 - std over the members)
double spread_loss(Sums c, const Over& over, double weight, Sums dc, View<double, 2> mean,
                   View<double, 2> square) {
  constexpr double kFloor = 1e-4;
  const double count = over.groups * static_cast<double>(c.size(2));
  mean_over_members(c, over, mean);
  for (i64 g = 0; g < c.size(0); ++g) {
    for (i64 d = 0; d < c.size(2); ++d) {
      double sum = 0;
      for (i64 m = 0; m < c.size(1); ++m) {
        sum += (c(g, m, d) - mean(g, d)) * (c(g, m, d) - mean(g, d));
      }
      square(g, d) = sum;
    }
  }
  add_up(over.sums, square.flat());
  double sum = 0;
  for (i64 g = 0; g < c.size(0); ++g) {
    for (i64 d = 0; d < c.size(2); ++d) {
      const double deviation = std::sqrt(square(g, d) / (over.members - 1) + kFloor);
      if (deviation >= 1.0) continue;
      sum += 1.0 - deviation;
      const double factor = -weight / (count * (over.members - 1) * deviation);
      for (i64 m = 0; m < c.size(1); ++m) dc(g, m, d) += factor * (c(g, m, d) - mean(g, d));
    }
  }
  return sum / count;
}

// c [groups, members, D]: mean over groups of the squared covariances of different coordinates
double covariance_loss(Sums c, const Over& over, double weight, Sums dc,
                       View<double, 2> covariance) {
  const i64 width = c.size(2);
  const double pairs = static_cast<double>(width) * static_cast<double>(width - 1);
  if (width < 2) return 0;
  double sum = 0;
  for (i64 g = 0; g < c.size(0); ++g) {
    std::fill_n(covariance.data(), covariance.numel(), 0.0);
    for (i64 m = 0; m < c.size(1); ++m) {
      for (i64 i = 0; i < width; ++i) {
        const double value = c(g, m, i) / (over.members - 1);
        for (i64 j = 0; j < width; ++j) covariance(i, j) += value * c(g, m, j);
      }
    }
    add_up(over.sums, covariance.flat());
    for (i64 i = 0; i < width; ++i) {
      covariance(i, i) = 0.0;
      for (i64 j = 0; j < width; ++j) sum += covariance(i, j) * covariance(i, j);
    }
    const double factor = 4.0 * weight / (over.groups * pairs * (over.members - 1));
    for (i64 m = 0; m < c.size(1); ++m) {
      for (i64 i = 0; i < width; ++i) {
        double slope = 0;
        for (i64 j = 0; j < width; ++j) slope += covariance(i, j) * c(g, m, j);
        dc(g, m, i) += factor * slope;
      }
    }
  }
  return sum / (over.groups * pairs);
}

// the terms of all processes, of which each has what its windows add
void add_up_terms(BatchSums* sums, LossValues& values) {
  std::array<double, std::size(kLossTerms)> parts;
  for (std::size_t i = 0; i < parts.size(); ++i) parts[i] = values.*kLossTerms[i].value;
  add_up(sums, View<double, 1>(parts.data(), {static_cast<i64>(parts.size())}));
  for (std::size_t i = 0; i < parts.size(); ++i) values.*kLossTerms[i].value = parts[i];
}

}  // namespace

LossSizes::LossSizes(const lewm::TrainingState& state)
    : windows(state.windows()),
      frames(state.frames()),
      width(state.emb().size(2)),
      predicted(state.pred().size(1)),
      rolled(state.rolled().size(1)),
      context(state.context()) {}

LossState::LossState(const LossSettings& settings, const LossSizes& sizes) : sizes_(sizes) {
  check(sizes.windows >= 1 && sizes.frames >= 2 && sizes.width >= 1, "losses: ", sizes.windows,
        " windows of ", sizes.frames, " frames came; one window of two frames is the least");
  if (sizes_.predicted == 0) sizes_.predicted = sizes.frames - 1;
  check(sizes_.predicted < sizes.frames && sizes.context + sizes.rolled < sizes.frames,
        "losses: windows of ", sizes.frames, " frames hold no ", sizes_.predicted,
        " predicted frames and no ", sizes.rolled, " rolled ones after ", sizes.context + 1);
  Arena measure;
  lay_out(measure, settings);
  memory_ = Block(measure.used());
  Arena arena(memory_);
  lay_out(arena, settings);
}

void LossState::lay_out(Arena& arena, const LossSettings& settings) {
  const auto [windows, frames, width, predicted, rolled, context] = sizes_;
  directions_ = arena.take<float, 2>({width, settings.projections});
  statistics_ = arena.take<float, 2>({frames, settings.projections});
  dsigreg_ = arena.take<float, 3>({frames, windows, width});
  demb_ = arena.take<float, 3>({windows, frames, width});
  dpred_ = arena.take<float, 3>({windows, predicted, width});
  drolled_ = arena.take<float, 3>({windows, rolled, width});
  sum_ = arena.take<double, 3>({windows, frames, width});
  centred_ = arena.take<double, 3>({windows, frames, width});
  dcentred_ = arena.take<double, 3>({windows, frames, width});
  covariance_ = arena.take<double, 2>({width, width});
  mean_ = arena.take<double, 2>({std::max(windows, frames), width});
  square_ = arena.take<double, 2>({std::max(windows, frames), width});
}

LossValues losses(Context& ctx, const LossSettings& settings, const LossInputs& in,
                  LossState& state) {
  const BatchShare& share = in.share;
  const Values emb = in.emb;
  check(emb.sizes() == state.demb_.sizes() && in.pred.sizes() == state.dpred_.sizes(),
        "losses: latents are ", emb.shape(), " and predictions ", in.pred.shape(),
        ", the state is for ", state.demb_.shape(), " and ", state.dpred_.shape());
  check(state.sizes_.rolled == 0 || in.rolled.sizes() == state.drolled_.sizes(),
        "losses: rolled predictions are ", in.rolled.shape(), ", the state is for ",
        state.drolled_.shape());
  const i64 frames = emb.size(1), windows = share.whole(emb.size(0));
  check(windows >= 2, "losses: a batch of ", windows, " windows came, two are the least");
  const LossWeights& weights = settings.weights;
  const Sums dz = state.sum_;
  std::fill_n(dz.data(), dz.numel(), 0.0);

  // means over windows, of which each process has its part
  LossValues values;
  values.prediction =
      prediction_loss(emb, in.pred, 1, windows, weights.prediction, dz, state.dpred_);
  if (state.sizes_.rolled > 0) {
    values.rollout = prediction_loss(emb, in.rolled, state.sizes_.context + 1, windows,
                                     weights.rollout, dz, state.drolled_);
  }
  if (weights.temporal_alignment != 0) {
    values.temporal_alignment = temporal_alignment(emb, windows, weights.temporal_alignment, dz);
  }
  if (weights.straightening != 0) {
    values.straightening = straightening(emb, windows, weights.straightening, dz);
  }
  const Over batch{static_cast<double>(frames), static_cast<double>(windows), share.sums};
  const Over time{static_cast<double>(windows), static_cast<double>(frames), nullptr};
  const Sums c = state.centred_, dc = state.dcentred_;
  const Sums by_time = c.transposed(), dby_time = dc.transposed();  // [T, B, D]
  const bool centres =
      weights.std != 0 || weights.std_time != 0 || weights.cov != 0 || weights.cov_time != 0;
  const auto rows = [](View<double, 2> of, i64 groups) { return of.slice(0, 0, groups); };
  const View<double, 2> mean = rows(state.mean_, frames), square = rows(state.square_, frames);
  if (centres) {
    centre(emb.transposed(), batch, mean, false, by_time);
    std::fill_n(dc.data(), dc.numel(), 0.0);
  }
  if (weights.std_time != 0) {
    values.std_time = spread_loss(c, time, weights.std_time, dc, rows(state.mean_, emb.size(0)),
                                  rows(state.square_, emb.size(0)));
  }
  if (weights.cov_time != 0) {
    values.cov_time = covariance_loss(c, time, weights.cov_time, dc, state.covariance_);
  }
  add_up_terms(share.sums, values);

  // what the batch has as a whole, which every process finds alike
  if (weights.sigreg != 0) {
    values.sigreg = sigreg(ctx, {.knots = settings.knots}, emb.transposed(), state.directions_,
                           state.statistics_, state.dsigreg_, share);
    for (i64 b = 0; b < emb.size(0); ++b) {
      for (i64 t = 0; t < emb.size(1); ++t) {
        for (i64 d = 0; d < emb.size(2); ++d) {
          dz(b, t, d) += weights.sigreg * static_cast<double>(state.dsigreg_(t, b, d));
        }
      }
    }
  }
  if (weights.std != 0) {
    values.std = spread_loss(by_time, batch, weights.std, dby_time, mean, square);
  }
  if (weights.cov != 0) {
    values.cov = covariance_loss(by_time, batch, weights.cov, dby_time, state.covariance_);
  }
  if (centres) centre(dby_time, batch, mean, true, dz.transposed());

  for (i64 i = 0; i < dz.numel(); ++i) {
    state.demb_.data()[i] = static_cast<float>(dz.data()[i]);
  }
  for (const LossTerm& term : kLossTerms) values.total += weights.*term.weight * values.*term.value;
  for (const AddedLoss& added : settings.added) {
    const double value = added.loss->value_and_gradient(
        ctx, in, added.weight, {state.demb_, state.dpred_, state.drolled_});
    values.added.push_back({added.loss->name(), value});
    values.total += added.weight * value;
  }
  return values;
}

void add_to_mean(LossValues& mean, const LossValues& newest, i64 count) {
  const double share = 1.0 / static_cast<double>(count);
  const auto join = [&](double& value, double other) { value += share * (other - value); };
  for (const LossTerm& term : kLossTerms) join(mean.*term.value, newest.*term.value);
  join(mean.total, newest.total);
  mean.added.resize(newest.added.size());
  for (std::size_t i = 0; i < mean.added.size(); ++i) {
    mean.added[i].name = newest.added[i].name;
    join(mean.added[i].value, newest.added[i].value);
  }
}

}  // namespace orrery::train
