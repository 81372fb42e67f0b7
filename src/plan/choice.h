#pragma once

#include <memory>
#include <optional>
#include <string>

#include "plan/icem.h"
#include "plan/policy.h"
#include "plan/search.h"

namespace orrery {

// A planner by name, with everything that can be said about the three; each takes what it knows.
// The defaults are those of the released planners.
struct PlannerChoice {
  std::string name = "cem";  // cem, icem or mppi
  i64 samples = 300;
  i64 elites = 30;
  i64 iterations = 30;
  double initial_std = 1.0;
  i64 batch_size = 1;  // environments planned together, 0: all

  // cem and icem
  EliteStd elite_std = EliteStd::sample;
  double min_std = 0;
  double enough_std = 0;

  // icem
  double noise_beta = 2;
  double momentum = 0.1;
  i64 keep = 5;
  IcemAnswer answer = IcemAnswer::mean;

  // mppi
  double temperature = 0.5;

  // Raw action numbers stay within plus and minus this limit; infinity: no limit. Not said: 1 for
  // icem, no limit for the others.
  std::optional<double> action_limit;
  BoundScale bound_scale = BoundScale::action;
};

// `scale` is that of the raw actions, empty when actions are planned as they are. Error when the
// name is unknown or a number makes no sense. `noise` outlives the planner.
std::unique_ptr<Planner> make_planner(Context& ctx, const PlannerChoice& choice,
                                      const PlanSizes& sizes, const ActionScale& scale,
                                      Noise& noise);

// The same for a name of those that sample; error for another.
std::unique_ptr<Search> make_search(Context& ctx, const PlannerChoice& choice,
                                    const PlanSizes& sizes, const ActionScale& scale, Noise& noise);

}  // namespace orrery
