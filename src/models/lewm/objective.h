#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/context.h"
#include "models/lewm/distance_head.h"
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
  time_to_goal,    // what a distance head says of z and g; for costs only
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
  std::shared_ptr<const DistanceHead> distance = nullptr;  // for time_to_goal
};

// What people choose of an objective.
struct CostChoice {
  std::string cost = "latent";    // or "distance-head"
  std::string reduction = "sum";  // of the squared latent distance: or "mean"
  double latent_weight = 0;       // of that distance beside a distance head
  double control_penalty = 0;     // weight of control_sum
};
// `model` is the folder of a model with a distance head, or a file in it. An unknown name is an
// error.
Objective objective_of(const CostChoice& choice, const std::filesystem::path& model, i64 latent);

// What a plan must keep: measure - limit <= 0.
struct Constraint {
  Measure measure = Measure::control_mean;
  double limit = 0;
};

// Limits that a planner was told, as constraints in the order of their fields.
std::vector<Constraint> constraints_of(const PlanLimits& limits);

// Error: no terms, a weight or limit that is not finite, a measure that cannot be a cost or a
// constraint, or a distance head that is missing or for latents of another width.
void check_objective(const Objective& objective, i64 latent);
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
// time_to_goal is computed on the CPU only. tolerant: f32 sums over D in any order, within (1 + D
// 2^-22) rounding of each term; steady
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
