#pragma once

#include "plan/search.h"

namespace orrery {

struct MppiConfig {
  i64 samples = 300;
  i64 elites = 30;  // candidates that are weighed; as many as samples: all of them
  i64 iterations = 30;
  double initial_std = 1.0;  // of the noise, and it stays
  double temperature = 0.5;  // in units of cost
  i64 batch_size = 1;        // as CemConfig
  NanCosts nan = NanCosts::never_win;
  ActionBounds bounds = {};  // candidates are clamped to these; none as released
};

// Model predictive path integral control: the mean moves to the average of its samples, each
// weighed by how little it costs.
//
//   mean = warm start, extended by the dynamics' proposal (zeros);  std = initial_std
//   iterations times:
//     x_s  = mean + std * eps_s,  eps ~ N(0, 1);   x_0 = mean
//     cost = rollout_cost(x), elites as in CEM
//     mean = sum_k w_k x_k over the elites,  w = softmax(-(cost - lowest cost) / temperature)
//   answer: the last mean, the mean cost of the last elites, std as it was
//
// An elite without a usable cost (NaN) weighs nothing, and where none has one the mean stays; as
// released (NanCosts::as_released) it makes the answer NaN. Williams, Aldrich, Theodorou, "Model
// predictive path integral control", 2017; the variant of stable-worldmodel 0.1.1. steady
template <typename T>
class BasicMppi final : public BasicSearch<T> {
 public:
  // Takes all memory. Error when a number of the configuration or a size makes no sense. `noise`
  // outlives the planner.
  BasicMppi(Context& ctx, const MppiConfig& config, const PlanSizes& sizes, BasicNoise<T>& noise);

  const MppiConfig& config() const { return config_; }

 protected:
  void learn(Context& ctx, const typename BasicSearch<T>::Memory& memory) override;

 private:
  MppiConfig config_;
};

using Mppi = BasicMppi<float>;

}  // namespace orrery
