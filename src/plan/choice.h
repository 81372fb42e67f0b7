#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plan/descent_choice.h"
#include "plan/icem.h"
#include "plan/policy.h"
#include "plan/search.h"

namespace orrery {

// A planner by name, with everything that can be said about them; each takes what it knows. The
// defaults are those of the released planners, but for what follow_upstream() lists.
struct PlannerChoice {
  std::string name = "cem";  // one of planner_names()
  i64 samples = 300;
  i64 elites = 30;
  i64 iterations = 30;
  double initial_std = 1.0;  // predictive-sampling: its noise scale
  i64 batch_size = 1;        // environments planned together, 0: all
  NanCosts nan = NanCosts::never_win;

  // cem and icem
  EliteStd elite_std = EliteStd::sample;
  double min_std = 0;
  double enough_std = 0;

  // icem
  double noise_beta = 2;
  std::optional<double> momentum;  // also of categorical-cem; not said: 0.1, there 0
  i64 keep = 5;
  IcemAnswer answer = IcemAnswer::mean;

  // mppi
  double temperature = 0.5;

  // categorical-cem, and pgd for its categories
  i64 categories = 0;
  double smoothing = 0;

  // gradient, pgd and lagrangian, whose iterations are steps
  DescentChoice descent;

  // Raw action numbers stay within plus and minus this limit; infinity: no limit. Not said: 1 for
  // icem, no limit for the others.
  std::optional<double> action_limit;
  BoundScale bound_scale = BoundScale::action;
};

// All names, for messages and options.
const std::vector<std::string>& planner_names();

// The same choice as a release of stable-worldmodel makes it, where releases and this project
// differ. Versions are "0.1.1" (2026-06) and "later" (2026-08-25 and after); error for another.
//
//                               here           0.1.1          later
//   nan                         never_win      as_released    as_released
//   elite_std                   sample         sample         population
//   icem answers the best with  its own cost   elites' mean   its own cost
//   bound_scale                 action         none           none
//   descent.answer              best           last_step_cost final_cost
PlannerChoice follow_upstream(PlannerChoice choice, const std::string& version);

// `scale` is that of the raw actions, empty when actions are planned as they are. Error when the
// name is unknown or a number makes no sense. `noise` outlives the planner.
std::unique_ptr<Planner> make_planner(Context& ctx, const PlannerChoice& choice,
                                      const PlanSizes& sizes, const ActionScale& scale,
                                      Noise& noise);

// The same for a name of those that sample; error for another.
std::unique_ptr<Search> make_search(Context& ctx, const PlannerChoice& choice,
                                    const PlanSizes& sizes, const ActionScale& scale, Noise& noise);

}  // namespace orrery
