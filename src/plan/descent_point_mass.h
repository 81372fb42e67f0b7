#pragma once

#include <functional>

#include "plan/differentiable.h"
#include "plan/point_mass.h"

namespace orrery {

// The point mass with its gradient and one limit, for tests of planners that descend:
//
//   d cost / d a_t = 2 (p0 + sum_t a_t - goal) + 2 kEffort a_t
//   g = first number of sum_t a_t, less `limit`
class DescentPointMass final : public DifferentiableDynamics {
 public:
  explicit DescentPointMass(std::vector<PointMass<float>::World> worlds, bool limited = false)
      : mass_(worlds), worlds_(std::move(worlds)), limited_(limited) {}

  // changes a candidate's cost and gradient after they were computed, e.g. to NaN
  using Spoil = std::function<void(i64 environment, i64 sample, i64 call, float& cost,
                                   View<float, 2> gradient)>;
  Spoil spoil;
  float limit = 0;

  i64 environments() const override { return mass_.environments(); }
  i64 action_dim() const override { return mass_.action_dim(); }
  i64 constraints() const override { return limited_ ? 1 : 0; }
  i64 evaluations() const { return evaluations_; }
  const PointMass<float>& mass() const { return mass_; }

  void rollout_cost(Context& ctx, i64 first, View<const float, 4> actions,
                    View<float, 2> cost) override {
    mass_.rollout_cost(ctx, first, actions, cost);
  }

  void constrain(Context&, i64, View<const float, 4> actions, View<float, 3> values) override {
    for (i64 e = 0; e < actions.size(0); ++e) {
      for (i64 s = 0; s < actions.size(1); ++s) {
        values(e, s, 0) = -limit;
        for (i64 t = 0; t < actions.size(2); ++t) values(e, s, 0) += actions(e, s, t, 0);
      }
    }
  }

  void rollout_cost_gradient(Context& ctx, i64 first, View<const float, 4> actions,
                             View<const float, 3> weights, View<float, 2> cost,
                             View<float, 4> gradient) override {
    mass_.rollout_cost(ctx, first, actions, cost);
    const auto kEffort = static_cast<float>(PointMass<float>::kEffort);
    for (i64 e = 0; e < actions.size(0); ++e) {
      const auto& world = worlds_[static_cast<std::size_t>(first + e)];
      for (i64 s = 0; s < actions.size(1); ++s) {
        for (i64 d = 0; d < action_dim(); ++d) {
          float away = world.start[d] - world.goal[d];
          for (i64 t = 0; t < actions.size(2); ++t) away += actions(e, s, t, d);
          const float extra = weights && d == 0 ? weights(e, s, 0) : 0.0f;
          for (i64 t = 0; t < actions.size(2); ++t) {
            gradient(e, s, t, d) = 2 * away + 2 * kEffort * actions(e, s, t, d) + extra;
          }
        }
        if (spoil) spoil(first + e, s, evaluations_, cost(e, s), gradient[e][s]);
      }
    }
    ++evaluations_;
  }

 private:
  PointMass<float> mass_;
  std::vector<PointMass<float>::World> worlds_;
  bool limited_;
  i64 evaluations_ = 0;
};

}  // namespace orrery
