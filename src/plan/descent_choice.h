#pragma once

#include <memory>
#include <optional>
#include <string>

#include "plan/descent.h"

namespace orrery {

// What plans have to keep to, where a planner knows constraints (lagrangian). Numbers of actions
// are as they are planned, z-scored.
struct PlanLimits {
  std::optional<double> action_energy;   // mean square of all action numbers
  std::optional<double> largest_action;  // size of any action number
  std::optional<double> goal_distance;  // squared distance of the last imagined latent and the goal

  i64 count() const {
    return i64{action_energy.has_value()} + i64{largest_action.has_value()} +
           i64{goal_distance.has_value()};
  }
};

// What can be said about planners that descend, beside samples, iterations (steps), initial std
// and batch size. Not said: gradient descends by adamw with 0.1, as the released configuration, and
// lagrangian by adam with 0.1; pgd knows plain steps only, of 1.
struct DescentChoice {
  std::optional<OptimiserConfig::Kind> optimiser;
  std::optional<double> lr;
  double weight_decay = -1;  // negative: the optimiser's own
  double momentum = 0;       // of sgd
  double grad_clip = 0;
  double action_noise = 0;
  DescentAnswer answer = DescentAnswer::best;

  // lagrangian
  i64 rounds = 5;
  double rho = 1.0;
  double rho_max = 1e4;
  double rho_scale = 2.0;
  bool persist_multipliers = true;
  PlanLimits limits;
};

// what planners of every kind are told
struct DescentSizes {
  i64 samples = 1;
  i64 steps = 30;
  double initial_std = 1;
  i64 batch_size = 0;
  i64 categories = 0;  // pgd
};

// best, final-cost or last-step-cost; error for another name
DescentAnswer descent_answer_from(const std::string& name);

// gradient, pgd and lagrangian
bool descends(const std::string& name);

// Error for another name, a context that is not the CPU's, or a number that makes no sense. `noise`
// outlives the planner.
std::unique_ptr<Planner> make_descent(const Context& ctx, const std::string& name,
                                      const DescentSizes& said, const DescentChoice& choice,
                                      const PlanSizes& sizes, Noise& noise);

}  // namespace orrery
