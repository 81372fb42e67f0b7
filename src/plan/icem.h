#pragma once

#include <algorithm>

#include "plan/search.h"

namespace orrery {

// What iCEM answers after its last iteration, and the cost it reports.
enum class IcemAnswer {
  mean,                // the mean, with the mean cost of the elites
  best,                // the best elite, with its own cost: later releases
  best_with_mean_cost  // the best elite, with the mean cost of the elites: the released planner
};

struct IcemConfig {
  i64 samples = 300;
  i64 elites = 30;
  i64 iterations = 30;
  double initial_std = 1.0;
  EliteStd elite_std = EliteStd::sample;
  i64 batch_size = 1;  // as CemConfig
  NanCosts nan = NanCosts::never_win;
  double min_std = 0;     // std is not smaller; 0 as released
  double enough_std = 0;  // as CemConfig
  double noise_beta = 2;  // noise has a power spectrum of f^-beta over the horizon
  double momentum = 0.1;  // share of mean and std that stays; called alpha in the released planner
  i64 keep = 5;           // elites that come back as candidates; no more than there are elites
  IcemAnswer answer = IcemAnswer::mean;
  // Candidates are clamped to these: see action_bounds() for limits of raw actions. The released
  // planner always clamps, to the raw limits (BoundScale::none).
  ActionBounds bounds = {};
};

// Improved cross-entropy method: CEM whose noise is correlated over time, whose best elites return
// and whose distribution has momentum.
//
//   mean = warm start, extended by the dynamics' proposal (zeros);  std = initial_std
//   iterations times:
//     eps  = coloured noise, each sequence of unit std over time (see colour_noise)
//     x_s  = mean + std * eps_s;   x_0 = mean
//     x_1 ... x_n = the n = min(keep, elites) best of the iteration before, from the second on
//     x    = x clamped to the bounds
//     cost = rollout_cost(x), elites as in CEM
//     mean = momentum * mean + (1 - momentum) * mean(elites), std likewise
//   answer: the mean or the best elite, see IcemAnswer; the last std
//
// A horizon of one has no spectrum and is an error, as are more kept elites than samples beside the
// mean. Pinneri et al., "Sample-efficient cross-entropy method for real-time planning", 2020; the
// variant of stable-worldmodel 0.1.1, which keeps the number of samples. steady
template <typename T>
class BasicIcem final : public BasicSearch<T> {
 public:
  // Takes all memory. Error when a number of the configuration or a size makes no sense. `noise`
  // outlives the planner; it is asked for [group, samples, action_dim, horizon].
  BasicIcem(Context& ctx, const IcemConfig& config, const PlanSizes& sizes, BasicNoise<T>& noise);

  const IcemConfig& config() const { return config_; }

 protected:
  using Memory = typename BasicSearch<T>::Memory;
  i64 returning() const override { return std::min(config_.keep, config_.elites); }
  void learn(Context& ctx, const Memory& memory) override;
  const T* answer(const Memory& memory, i64 e, T& cost) const override;

 private:
  IcemConfig config_;
};

using Icem = BasicIcem<float>;

}  // namespace orrery
