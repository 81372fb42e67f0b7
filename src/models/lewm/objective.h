#pragma once

#include <span>
#include <vector>

#include "device/context.h"
#include "plan/descent_choice.h"
#include "tensor/view.h"

namespace orrery::lewm {

// What can be measured of a candidate: of its last predicted latent z [D], the goal's latent g [D]
// and its actions a [T, A], z-scored.
enum class Measure {
  goal_sum,        // sum_d (z_d - g_d)^2
  goal_mean,       // the same divided by D
  control_sum,     // sum over blocks and numbers of a^2
  control_mean,    // the same divided by T A
  largest_action,  // max |a|; for constraints only
};

// goal_sum, ...: for messages and records
const char* name_of(Measure measure);

struct Term {
  Measure measure = Measure::goal_sum;
  double weight = 1;
};

// What a plan costs: sum_i weight_i measure_i, lower is better. The default is the released one.
// The original's GoalMSE is goal_sum or goal_mean, its ControlPenalty control_sum, its WeightedSum
// several terms.
struct Objective {
  std::vector<Term> terms = {{Measure::goal_sum, 1.0}};
};

// What a plan must keep: measure - limit <= 0.
struct Constraint {
  Measure measure = Measure::control_mean;
  double limit = 0;
};

// Limits that a planner was told, as constraints in the order of their fields.
std::vector<Constraint> constraints_of(const PlanLimits& limits);

// Error: no terms, a weight or limit that is not finite, or a measure that cannot be a cost.
void check_objective(const Objective& objective);
void check_constraints(std::span<const Constraint> constraints);

// Candidates as they were rolled out, contiguous, where the context's operations run.
struct Outcomes {
  View<const float, 3> latents;  // [group, samples, D], the last predictions
  View<const float, 2> goals;    // [group, D]
  View<const float, 4> actions;  // [group, samples, T, A]
};

// cost[e, s] = what candidate s of environment e costs
//
//   cost   [group, samples], contiguous
//
// tolerant: f32 sums over D in any order, within (1 + D 2^-22) rounding of each term; steady
void objective_cost(Context& ctx, const Objective& objective, const Outcomes& outcomes,
                    View<float, 2> cost);

// Slopes of something by latents and actions, each candidate's its own; contiguous.
struct Slopes {
  View<float, 3> latents;  // [group, samples, D]
  View<float, 4> actions;  // [group, samples, T, A]: of what depends on actions directly, not by
                           // way of the latents
};

// slopes = d cost[e, s] / d latents[e, s], d actions[e, s]; what was there is overwritten. CPU
// only. steady
void objective_slopes(Context& ctx, const Objective& objective, const Outcomes& outcomes,
                      const Slopes& slopes);

// values[e, s, i] = measure_i - limit_i
//
//   values   [group, samples, constraints], contiguous
//
// CPU only; sums in double. steady
void constraint_values(Context& ctx, std::span<const Constraint> constraints,
                       const Outcomes& outcomes, View<float, 3> values);

// slopes += sum_i weights[e, s, i] d values[e, s, i] / d latents, d actions
//
//   weights   [group, samples, constraints], contiguous
//
// The slope of max |a| is that of the first largest number, 0 where all are 0. CPU only. steady
void add_constraint_slopes(Context& ctx, std::span<const Constraint> constraints,
                           const Outcomes& outcomes, View<const float, 3> weights,
                           const Slopes& slopes);

}  // namespace orrery::lewm
