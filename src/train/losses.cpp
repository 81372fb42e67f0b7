#include "train/losses.h"

#include <algorithm>

#include "ops/latent_terms.h"
#include "ops/sigreg.h"
#include "ops/strided.h"

namespace orrery::train {

namespace {

template <int Rank>
void clear(Context& ctx, View<double, Rank> values) {
  // two floats of 0 are a double of 0
  fill(ctx, 0.0f, View<float, 1>(reinterpret_cast<float*>(values.data()), {2 * values.numel()}));
}

}  // namespace

LossSizes::LossSizes(const lewm::TrainingState& state)
    : windows(state.windows()),
      frames(state.frames()),
      width(state.emb().size(2)),
      predicted(state.pred().size(1)),
      rolled(state.rolled().size(1)),
      context(state.context()) {}

LossState::LossState(const LossSettings& settings, const LossSizes& sizes)
    : LossState(Context({.threads = 1}), settings, sizes) {}

LossState::LossState(const Context& ctx, const LossSettings& settings, const LossSizes& sizes)
    : sizes_(sizes) {
  check(sizes.windows >= 1 && sizes.frames >= 2 && sizes.width >= 1, "losses: ", sizes.windows,
        " windows of ", sizes.frames, " frames came; one window of two frames is the least");
  if (sizes_.predicted == 0) sizes_.predicted = sizes.frames - 1;
  check(sizes_.predicted < sizes.frames && sizes.context + sizes.rolled < sizes.frames,
        "losses: windows of ", sizes.frames, " frames hold no ", sizes_.predicted,
        " predicted frames and no ", sizes.rolled, " rolled ones after ", sizes.context + 1);
  Arena measured;
  lay_out(measured, settings);
  memory_ = Block(ctx, measured.used());
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
  values_ = arena.take<double, 1>({kTotalPlace + 1 + static_cast<i64>(settings.added.size())});
}

void measure(Context& ctx, const LossSettings& settings, const LossInputs& in, LossState& state) {
  const BatchShare& share = in.share;
  const View<const float, 3> emb = in.emb;
  check(emb.sizes() == state.demb_.sizes() && in.pred.sizes() == state.dpred_.sizes(),
        "losses: latents are ", emb.shape(), " and predictions ", in.pred.shape(),
        ", the state is for ", state.demb_.shape(), " and ", state.dpred_.shape());
  check(state.sizes_.rolled == 0 || in.rolled.sizes() == state.drolled_.sizes(),
        "losses: rolled predictions are ", in.rolled.shape(), ", the state is for ",
        state.drolled_.shape());
  const i64 frames = emb.size(1), windows = share.whole(emb.size(0));
  check(windows >= 2, "losses: a batch of ", windows, " windows came, two are the least");
  const LossWeights& weights = settings.weights;
  const View<double, 3> dz = state.sum_;
  clear(ctx, dz);

  // means over windows, of which each process has its part; what is not weighted stays 0
  const auto place_of = [&](double LossValues::*value) {
    i64 place = 0;
    while (kLossTerms[place].value != value) ++place;
    return state.values_.slice(0, place, place + 1);
  };
  const auto term = [&](double weight, double LossValues::*value) {
    return LatentTerm{weight, windows, dz, place_of(value)};
  };
  prediction_term(ctx, emb, in.pred, 1, term(weights.prediction, &LossValues::prediction),
                  state.dpred_);
  if (state.sizes_.rolled > 0) {
    prediction_term(ctx, emb, in.rolled, state.sizes_.context + 1,
                    term(weights.rollout, &LossValues::rollout), state.drolled_);
  }
  if (weights.temporal_alignment != 0) {
    alignment_term(ctx, emb, term(weights.temporal_alignment, &LossValues::temporal_alignment));
  }
  if (weights.straightening != 0) {
    straightening_term(ctx, emb, term(weights.straightening, &LossValues::straightening));
  }
  const Over batch{static_cast<double>(frames), static_cast<double>(windows), share.sums};
  const Over time{static_cast<double>(windows), static_cast<double>(frames), nullptr};
  const View<double, 3> c = state.centred_, dc = state.dcentred_;
  const View<double, 3> by_time = c.transposed(), dby_time = dc.transposed();  // [T, B, D]
  const bool centres =
      weights.std != 0 || weights.std_time != 0 || weights.cov != 0 || weights.cov_time != 0;
  const auto rows = [](View<double, 2> of, i64 groups) { return of.slice(0, 0, groups); };
  const View<double, 2> mean = rows(state.mean_, frames), square = rows(state.square_, frames);
  if (centres) {
    centre_members(ctx, emb.transposed(), batch, mean, by_time);
    clear(ctx, dc);
  }
  if (weights.std_time != 0) {
    spread_term(ctx, c, time, weights.std_time, dc, rows(state.mean_, emb.size(0)),
                rows(state.square_, emb.size(0)), place_of(&LossValues::std_time));
  }
  if (weights.cov_time != 0) {
    covariance_term(ctx, c, time, weights.cov_time, dc, state.covariance_,
                    place_of(&LossValues::cov_time));
  }
  if (share.sums != nullptr) {
    // of what follows, which every process finds alike, nothing is added up
    for (const auto value : {&LossValues::sigreg, &LossValues::std, &LossValues::cov}) {
      clear(ctx, place_of(value));
    }
    share.sums->add_up(state.values_.slice(0, 0, LossState::kTotalPlace));
  }

  // what the batch has as a whole
  if (weights.sigreg != 0) {
    sigreg(ctx, {.knots = settings.knots}, emb.transposed(), state.directions_, state.statistics_,
           state.dsigreg_, place_of(&LossValues::sigreg), share);
    add_by_time(ctx, weights.sigreg, state.dsigreg_, dz);
  }
  if (weights.std != 0) {
    spread_term(ctx, by_time, batch, weights.std, dby_time, mean, square,
                place_of(&LossValues::std));
  }
  if (weights.cov != 0) {
    covariance_term(ctx, by_time, batch, weights.cov, dby_time, state.covariance_,
                    place_of(&LossValues::cov));
  }
  if (centres) add_centred(ctx, dby_time, batch, mean, dz.transposed());

  round_to(ctx, dz.flat(), state.demb_.flat());
  std::vector<double> all;
  for (const LossTerm& one : kLossTerms) all.push_back(weights.*one.weight);
  const auto weighted = [](const std::vector<double>& of) {
    return View<const double, 1>(of.data(), {static_cast<i64>(of.size())});
  };
  i64 place = LossState::kTotalPlace;
  const View<double, 1> total = state.values_.slice(0, place, place + 1);
  weighted_total(ctx, weighted(all), state.values_, total);
  for (const AddedLoss& added : settings.added) {
    ++place;
    const View<double, 1> value = state.values_.slice(0, place, place + 1);
    added.loss->measure(ctx, in, added.weight, {state.demb_, state.dpred_, state.drolled_}, value);
    add_weighted(ctx, added.weight, value, total);
  }
}

LossValues named(const LossSettings& settings, View<const double, 1> values) {
  LossValues result;
  i64 place = 0;
  for (const LossTerm& term : kLossTerms) result.*term.value = values[place++];
  result.total = values[place++];
  for (const AddedLoss& added : settings.added) {
    result.added.push_back({added.loss->name(), values[place++]});
  }
  return result;
}

LossValues losses(Context& ctx, const LossSettings& settings, const LossInputs& in,
                  LossState& state) {
  measure(ctx, settings, in, state);
  std::vector<double> values(static_cast<std::size_t>(state.values().numel()));
  ctx.download(values.data(), state.values().data(), values.size() * sizeof(double));
  return named(settings, View<const double, 1>(values.data(), state.values().sizes()));
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
