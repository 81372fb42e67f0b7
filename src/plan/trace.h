#pragma once

#include <array>
#include <vector>

#include "base/types.h"

namespace orrery {

// How a plan of one environment was found: one number per iteration in every column that the
// planner knows, the others stay empty. The columns are those of the released planners' callbacks,
// which give one number per environment (reduction none).
struct PlanTrace {
  std::vector<double> best_cost;  // lowest of all candidates, NaN ignored (NaN when all are)
  std::vector<double> mean_cost;  // over all candidates

  // planners that sample
  std::vector<double> elite_mean;  // cost of the elites
  std::vector<double> elite_min;
  std::vector<double> elite_max;
  std::vector<double> elite_spread;  // sample std of the elites, averaged over a plan's numbers;
                                     // NaN for one elite
  std::vector<double> spread;  // std of the distribution after the iteration, averaged likewise;
                               // the released planners call it var norm
  std::vector<double> mean_shift;  // length of the step that the mean took

  // planners that descend
  std::vector<double> gradient_norm;
  std::vector<double> action_norm;
};

// The columns by name, in the order in which they are shown.
struct TraceColumn {
  using Values = std::vector<double> PlanTrace::*;
  const char* name;
  Values values;
};
inline constexpr std::array<TraceColumn, 10> kTraceColumns = {{
    {"best_cost", &PlanTrace::best_cost},
    {"mean_cost", &PlanTrace::mean_cost},
    {"elite_mean", &PlanTrace::elite_mean},
    {"elite_min", &PlanTrace::elite_min},
    {"elite_max", &PlanTrace::elite_max},
    {"elite_spread", &PlanTrace::elite_spread},
    {"spread", &PlanTrace::spread},
    {"mean_shift", &PlanTrace::mean_shift},
    {"gradient_norm", &PlanTrace::gradient_norm},
    {"action_norm", &PlanTrace::action_norm},
}};

}  // namespace orrery
