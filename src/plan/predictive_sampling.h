#pragma once

#include "plan/search.h"

namespace orrery {

struct PredictiveSamplingConfig {
  i64 samples = 300;
  double noise_scale = 1.0;
  i64 batch_size = 1;  // as CemConfig
  NanCosts nan = NanCosts::never_win;
  ActionBounds bounds = {};  // candidates are clamped to these; none as released
};

// Predictive sampling: one round of candidates around a first guess, and the best of them.
//
//   x_s  = guess + noise_scale * eps_s,  eps ~ N(0, 1);   x_0 = guess
//   answer: the x of the lowest cost (equal costs: the first), that cost; std 0
//
// The guess is the warm start, extended by the dynamics' proposal (zeros). It is also the answer
// when no candidate has a usable cost. NanCosts::as_released: the first candidate whose cost is NaN
// is the answer, if there is one, because the released planner takes an argmin that NaN wins.
// Howell et al., "Predictive sampling: real-time behaviour synthesis with MuJoCo", 2022; the
// variant of stable-worldmodel 0.1.1. steady
template <typename T>
class BasicPredictiveSampling final : public BasicSearch<T> {
 public:
  // Takes all memory. Error when a number of the configuration or a size makes no sense. `noise`
  // outlives the planner.
  BasicPredictiveSampling(Context& ctx, const PredictiveSamplingConfig& config,
                          const PlanSizes& sizes, BasicNoise<T>& noise);

 protected:
  void learn(Context& ctx, const typename BasicSearch<T>::Memory& memory) override;

 private:
  NanCosts nan_;
};

using PredictiveSampling = BasicPredictiveSampling<float>;

}  // namespace orrery
