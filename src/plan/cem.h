#pragma once

#include <functional>

#include "plan/noise.h"
#include "plan/planner.h"
#include "tensor/arena.h"

namespace orrery {

// How the spread of the elites is measured.
enum class EliteStd {
  sample,  // divide by elites - 1: the released planner; one elite gives NaN, and the answer stays
           // the first best
  population,  // divide by elites: later releases; one elite gives 0
};

struct CemConfig {
  i64 samples = 300;
  i64 elites = 30;
  i64 iterations = 30;
  double initial_std =
      1.0;  // called var_scale in the released planner, used as a standard deviation there too
  EliteStd elite_std = EliteStd::sample;
  i64 batch_size = 1;  // environments planned together, 0: all. With recorded noise it decides the
                       // order of draws
};

// Numbers that describe one iteration for one environment.
template <typename T>
struct CemFigures {
  T best_cost;   // lowest of all candidates, NaN ignored (NaN when all are)
  T mean_cost;   // over all candidates
  T elite_mean;  // over the elites
  T elite_min;
  T elite_max;
  T mean_shift;  // length of the step that the mean took
  T std_mean;    // average of the elites' std over blocks and action numbers
};

// One iteration of one group as an observer sees it, after mean and std are updated. The views live
// until the observer returns.
template <typename T>
struct CemIteration {
  i64 first_environment;
  i64 iteration;
  View<const T, 4> candidates;  // [group, samples, horizon, action_dim]
  View<const T, 2> costs;       // [group, samples]
  View<const i32, 2> elites;    // [group, elites], best first
  View<const T, 3> mean;        // [group, horizon, action_dim]
  View<const T, 3> std;
  View<const CemFigures<T>, 1> figures;  // [group]
};

// Cross-entropy method: search by a normal distribution that is fitted again and again to its best
// samples.
//
//   mean = warm start, extended by the dynamics' proposal (zeros);  std = initial_std
//   iterations times:
//     x_s  = mean + std * eps_s,  eps ~ N(0, 1);   x_0 = mean
//     cost = rollout_cost(x)
//     elites = the lowest costs, equal costs by sample number, NaN after every number
//     mean, std = mean and std of the elites
//   answer: the last mean (not the best sample), the mean cost of the last elites, the last std
//
// No smoothing, no floor under std and no clipping to action bounds, as released. Rubinstein, "The
// cross-entropy method for combinatorial and continuous optimization", 1999; the variant of
// stable-worldmodel 0.1.1.
//
// Elite statistics are summed in double, best elite first, whatever the number of threads. steady
template <typename T>
class BasicCem final : public BasicPlanner<T> {
 public:
  // Takes all memory. Error when a number of the configuration or a size makes no sense. `noise`
  // outlives the planner.
  BasicCem(const CemConfig& config, const PlanSizes& sizes, BasicNoise<T>& noise);

  i64 horizon() const override { return sizes_.horizon; }
  i64 action_dim() const override { return sizes_.action_dim; }
  i64 max_environments() const override { return sizes_.environments; }
  const CemConfig& config() const { return config_; }

  // Called after every iteration; empty: nobody watches and no figures are computed.
  void observe(std::function<void(const CemIteration<T>&)> observer) {
    observer_ = std::move(observer);
  }

  void plan(Context& ctx, BasicDynamics<T>& dynamics, const BasicPlanRequest<T>& request,
            const BasicPlanResult<T>& result) override;

 private:
  void lay_out(Arena& arena);
  void start(Context& ctx, BasicDynamics<T>& dynamics, View<const T, 3> warm_start, i64 first,
             i64 group);
  void sample(Context& ctx, std::span<const PlanKey> keys, i64 iteration, i64 group);
  void refit(i64 e);
  void watch(i64 e);

  CemConfig config_;
  PlanSizes sizes_;
  i64 group_ = 0;  // most environments at once
  BasicNoise<T>* noise_;
  std::function<void(const CemIteration<T>&)> observer_;

  Block memory_;
  View<T, 4> candidates_;  // [group, samples, horizon, action_dim]
  View<T, 2> costs_;       // [group, samples]
  View<i32, 2> order_;     // [group, samples], elites first
  View<T, 3> mean_;        // [group, horizon, action_dim]
  View<T, 3> std_;
  View<T, 3> last_mean_;
  View<T, 1> elite_cost_;  // [group]
  View<PlanKey, 1> keys_;  // [environments]
  View<CemFigures<T>, 1> figures_;
};

using Cem = BasicCem<float>;

}  // namespace orrery
