#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "io/npz.h"
#include "plan/dynamics.h"
#include "tests/golden/recorded_plans.h"

// The analytic world that the planners were recorded on.
namespace orrery {

// the recorded value of one call: a row of one array, or an array of its own
template <typename T>
Tensor of_call(const TensorMap& arrays, const std::string& name, i64 call) {
  const auto whole = arrays.find(name);
  if (whole != arrays.end()) return row_of<T>(whole->second, call);
  return arrays.at(text(name, "_", call)).clone();
}

// The analytic cost of the README, with its odd modes. Row e of a rollout is world who[e] of the
// case.
template <typename T>
class GoldenCost : public BasicDynamics<T> {
 public:
  GoldenCost(const TensorMap& arrays, std::string mode, i64 action_dim, bool proposes = false)
      : goal_(arrays.at("in_goal").converted(dtype_of<T>)),
        bump_(arrays.at("in_bump").converted(dtype_of<T>)),
        mode_(std::move(mode)),
        action_dim_(action_dim),
        proposes_(proposes) {
    const Tensor p0 = arrays.at("in_p0").converted(dtype_of<T>);
    const Tensor v0 = arrays.at("in_v0").converted(dtype_of<T>);
    for (i64 e = 0; e < goal_.size(0); ++e) who_.push_back(e);
    see(p0.span<T>(), v0.span<T>(), who_);
  }

  // the present of some worlds: positions and velocities, two numbers each
  void see(std::span<const T> position, std::span<const T> velocity, std::span<const i64> who) {
    position_.assign(position.begin(), position.end());
    velocity_.assign(velocity.begin(), velocity.end());
    who_.assign(who.begin(), who.end());
  }

  i64 environments() const override { return static_cast<i64>(who_.size()); }
  i64 action_dim() const override { return action_dim_; }

  void rollout_cost(Context&, i64 first, View<const T, 4> actions, View<T, 2> cost) override {
    for (i64 e = 0; e < actions.size(0); ++e) {
      for (i64 s = 0; s < actions.size(1); ++s) {
        cost(e, s) =
            with_mode(cost_of(first + e, &actions(e, s, 0, 0), actions.size(2) * action_dim_), s);
      }
    }
  }

  void propose(Context& ctx, i64 first, View<const T, 3> prefix, View<T, 3> tail) override {
    if (!proposes_) return BasicDynamics<T>::propose(ctx, first, prefix, tail);
    for (i64 e = 0; e < tail.size(0); ++e) {
      for (i64 t = 0; t < tail.size(1); ++t) {
        for (i64 d = 0; d < tail.size(2); ++d) {
          tail(e, t, d) = static_cast<T>(0.1f * static_cast<float>(prefix.size(1) + t + 1) -
                                         0.05f * static_cast<float>(d));
        }
      }
    }
  }

 private:
  T cost_of(i64 row, const T* a, i64 numbers) const {
    const auto r = static_cast<std::size_t>(row) * 2;
    const i64 world = who_[static_cast<std::size_t>(row)];
    T p[2] = {position_[r], position_[r + 1]};
    T v[2] = {velocity_[r], velocity_[r + 1]};
    T bump = 0;
    T effort = 0;
    const auto goal = goal_.template view<T, 2>()[world];
    const auto centre = bump_.template view<T, 2>()[world];
    for (i64 k = 0; k < numbers; k += 2) {
      T from_centre = 0;
      for (i64 d = 0; d < 2; ++d) {
        v[d] = v[d] * T(0.9) + a[k + d] * T(0.2);
        p[d] = p[d] + v[d] * T(0.2);
        from_centre += (p[d] - centre[d]) * (p[d] - centre[d]);
        effort += a[k + d] * a[k + d];
      }
      bump += std::exp(-from_centre * T(12.5));
    }
    T to_goal = 0;
    T speed = 0;
    for (i64 d = 0; d < 2; ++d) {
      to_goal += (p[d] - goal[d]) * (p[d] - goal[d]);
      speed += v[d] * v[d];
    }
    return to_goal + T(0.1) * speed + T(0.08) * bump + T(0.001) * effort;
  }

  T with_mode(T cost, i64 sample) const {
    if (mode_ == "ties") return std::floor(cost * 2) / 2;
    if (mode_ == "nan_some" && sample % 3 == 1) return std::numeric_limits<T>::quiet_NaN();
    if (mode_ == "inf_some" && sample % 3 == 1) return std::numeric_limits<T>::infinity();
    if (mode_ == "nan_most" && sample % 16 != 0) return std::numeric_limits<T>::quiet_NaN();
    return cost;
  }

  Tensor goal_;
  Tensor bump_;
  std::string mode_;
  i64 action_dim_;
  bool proposes_;
  std::vector<T> position_;
  std::vector<T> velocity_;
  std::vector<i64> who_;
};

// Gives the planner made-up costs that rank exactly the recorded elites first, where the official
// order among equals is arbitrary; the true costs stay readable.
template <typename T>
class RankedAsRecorded final : public BasicDynamics<T> {
 public:
  RankedAsRecorded(BasicDynamics<T>& inner, const TensorMap& arrays)
      : inner_(inner), arrays_(arrays) {}
  i64 environments() const override { return inner_.environments(); }
  i64 action_dim() const override { return inner_.action_dim(); }
  void rollout_cost(Context& ctx, i64 first, View<const T, 4> actions, View<T, 2> cost) override {
    inner_.rollout_cost(ctx, first, actions, cost);
    truth = Tensor::of<T>({cost.size(0), cost.size(1)},
                          {cost.data(), static_cast<std::size_t>(cost.numel())});
    const Tensor elites = of_call<i32>(arrays_, "elite_idx", call_++);
    for (i64 e = 0; e < cost.size(0); ++e) {
      for (i64 s = 0; s < cost.size(1); ++s) cost(e, s) = static_cast<T>(cost.size(1));
      for (i64 k = 0; k < elites.size(1); ++k)
        cost(e, elites.view<i32, 2>()(e, k)) = static_cast<T>(k);
    }
  }
  Tensor truth;

 private:
  BasicDynamics<T>& inner_;
  const TensorMap& arrays_;
  i64 call_ = 0;
};

}  // namespace orrery
