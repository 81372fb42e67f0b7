#pragma once

#include "plan/search.h"

namespace orrery {

struct CemConfig {
  i64 samples = 300;
  i64 elites = 30;
  i64 iterations = 30;
  double initial_std =
      1.0;  // called var_scale in the released planner, used as a standard deviation there too
  EliteStd elite_std = EliteStd::sample;
  i64 batch_size = 1;  // environments planned together, 0: all. With recorded noise it decides the
                       // order of draws
  NanCosts nan = NanCosts::never_win;
  double min_std = 0;     // std is not smaller; 0 as released
  double enough_std = 0;  // end early when no environment's std averages more; 0 as released: never
  ActionBounds bounds = {};  // candidates are clamped to these; none as released
};

// Cross-entropy method: search by a normal distribution that is fitted again and again to its best
// samples.
//
//   mean = warm start, extended by the dynamics' proposal (zeros);  std = initial_std
//   iterations times:
//     x_s  = mean + std * eps_s,  eps ~ N(0, 1);   x_0 = mean
//     cost = rollout_cost(x)
//     elites = the lowest costs, equal costs by sample number, NaN never (see NanCosts)
//     mean, std = mean and std of the elites
//   answer: the last mean (not the best sample), the mean cost of the last elites, the last std
//
// As released: no smoothing, no floor under std and no clipping to action bounds. Rubinstein, "The
// cross-entropy method for combinatorial and continuous optimization", 1999; the variant of
// stable-worldmodel 0.1.1.
//
// Elite statistics are summed in double, best elite first, whatever the number of threads. steady
template <typename T>
class BasicCem final : public BasicSearch<T> {
 public:
  // Takes all memory. Error when a number of the configuration or a size makes no sense. `noise`
  // outlives the planner.
  BasicCem(Context& ctx, const CemConfig& config, const PlanSizes& sizes, BasicNoise<T>& noise);

  const CemConfig& config() const { return config_; }

 protected:
  void learn(Context& ctx, const typename BasicSearch<T>::Memory& memory) override;

 private:
  CemConfig config_;
};

using Cem = BasicCem<float>;

}  // namespace orrery
