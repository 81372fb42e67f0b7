#pragma once

#include <vector>

#include "plan/descent.h"

namespace orrery {

struct LagrangianConfig {
  // of one round; its optimiser begins anew in every round. The released planner has adam
  DescentConfig descent = {.optimiser = {.kind = OptimiserConfig::Kind::adam}};
  i64 rounds = 5;
  i64 constraints = 0;  // of the dynamics that will be planned with
  double rho = 1.0;     // weight of squares in the first round
  double rho_max = 1e4;
  double rho_scale = 2.0;           // from round to round
  bool persist_multipliers = true;  // from plan to plan
};

// Descent that keeps to constraints g <= 0 of the dynamics, by an augmented Lagrangian:
//
//   lambda = 0, or what the last plan of the same environment (PlanKey) ended with
//   rounds times:
//     steps of descent.h on   cost + sum_i lambda_i g_i + rho sum_i max(0, g_i)^2
//     lambda_i = max(0, lambda_i + rho * mean over samples of g_i)
//     rho      = min(rho_max, rho * rho_scale)
//
// As released (stable-worldmodel 0.1.1) the answer is chosen by cost alone, whether or not it keeps
// to the constraints; DescentAnswer::best chooses one that does. Samples whose g is not finite do
// not count in the mean. Hestenes, "Multiplier and gradient methods", 1969.
class LagrangianPlanner final : public Descent {
 public:
  LagrangianPlanner(const LagrangianConfig& config, const PlanSizes& sizes, Noise& noise);

  // After a plan, of its environments: the multipliers, [environments, constraints], and the mean
  // over samples and constraints of max(0, g) where the samples ended, [environments].
  View<const float, 2> multipliers() const { return multipliers_.slice(0, 0, planned_); }
  View<const float, 1> constraint_violation() const { return left_.slice(0, 0, planned_); }

  // Multipliers of all environments begin at 0 again.
  void forget() { kept_.clear(); }

 protected:
  i64 rounds() const override { return config_.rounds; }
  void begin_plan(const DifferentiableDynamics& dynamics, const PlanRequest& request) override;
  void begin_group(const Group& group) override;
  Penalty weigh(Context& ctx, const Group& group) override;
  void end_round(Context& ctx, const Group& group) override;
  void end_group(const Group& group) override;

 private:
  // whose multipliers are kept in a row of the memory
  struct Kept {
    i64 environment;
    u64 last_plan;
  };
  std::size_t row_of(i64 environment);

  LagrangianConfig config_;
  double rho_ = 0;
  i64 planned_ = 0;
  u64 plans_ = 0;
  std::vector<Kept> kept_;
  std::vector<i64> who_;  // environments of this plan

  Block memory_;
  View<float, 2> kept_multipliers_;  // [environments, constraints]
  View<float, 2> multipliers_;       // [environments, constraints]
  View<float, 1> left_;              // [environments]
  View<float, 3> values_;            // [group, samples, constraints]
  View<float, 3> weights_;           // [group, samples, constraints]
};

}  // namespace orrery
