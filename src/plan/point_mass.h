#pragma once

#include <vector>

#include "plan/dynamics.h"

namespace orrery {

// A world with a known best plan, for tests: a point steps by its actions and pays for its distance
// to the goal and for moving.
//
//   cost = |p0 + sum_t a_t - goal|^2 + kEffort sum_t |a_t|^2
//
// The best action is the same in every step, (goal - p0) / (horizon + kEffort), and costs
// |goal - p0|^2 kEffort / (horizon + kEffort).
template <typename T>
class PointMass final : public BasicDynamics<T> {
 public:
  static constexpr double kEffort = 1.0;
  static constexpr i64 kDim = 2;
  struct World {
    T start[kDim];
    T goal[kDim];
  };

  explicit PointMass(std::vector<World> worlds) : worlds_(std::move(worlds)) {}

  i64 environments() const override { return static_cast<i64>(worlds_.size()); }
  i64 action_dim() const override { return kDim; }
  i64 calls() const { return calls_; }

  void rollout_cost(Context& ctx, i64 first_environment, View<const T, 4> actions,
                    View<T, 2> cost) override {
    ++calls_;
    ctx.parallel(actions.size(0) * actions.size(1), [&](i64 index, int) {
      const i64 e = index / actions.size(1);
      const i64 s = index % actions.size(1);
      const World& world = worlds_[static_cast<std::size_t>(first_environment + e)];
      double total = 0;
      for (i64 d = 0; d < kDim; ++d) {
        double away = static_cast<double>(world.start[d]) - static_cast<double>(world.goal[d]);
        for (i64 t = 0; t < actions.size(2); ++t) {
          const double a = static_cast<double>(actions(e, s, t, d));
          away += a;
          total += kEffort * a * a;
        }
        total += away * away;
      }
      cost(e, s) = static_cast<T>(total);
    });
  }

  double best_action(i64 environment, i64 horizon, i64 d) const {
    const World& world = worlds_[static_cast<std::size_t>(environment)];
    return static_cast<double>(world.goal[d] - world.start[d]) /
           (static_cast<double>(horizon) + kEffort);
  }
  double best_cost(i64 environment, i64 horizon) const {
    double total = 0;
    for (i64 d = 0; d < kDim; ++d) {
      const double a = best_action(environment, horizon, d);
      total += a * a * kEffort * (static_cast<double>(horizon) + kEffort);
    }
    return total;
  }

 private:
  std::vector<World> worlds_;
  i64 calls_ = 0;
};

}  // namespace orrery
