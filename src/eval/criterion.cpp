#include "eval/criterion.h"

#include <array>
#include <cmath>
#include <numbers>
#include <span>

#include "base/error.h"
#include "env/pusht.h"

namespace orrery {

Judge::Judge(const Criterion& criterion) : criterion_(criterion) {
  check(criterion.hold_steps >= 1, "evaluation: a goal held for ", criterion.hold_steps,
        " steps, at least one is needed");
  check(criterion.degrees > 0, "evaluation: a goal held within ", criterion.degrees,
        " degrees, more than 0 is needed");
}

bool Judge::succeeded(const Environment& environment, const Step& step) {
  if (criterion_.kind == Criterion::Kind::published) return step.terminated;
  const bool there = step.terminated && degrees_to_goal(environment) <= criterion_.degrees;
  in_a_row_ = there ? in_a_row_ + 1 : 0;
  return in_a_row_ >= criterion_.hold_steps;
}

double degrees_to_goal(const Environment& environment) {
  if (dynamic_cast<const PushT*>(&environment) == nullptr) return 0;
  // agent x, y, block x, y, block angle, and the agent's velocity in some variants
  constexpr std::size_t kAngle = 4;
  std::array<double, 7> now = {};
  std::array<double, 7> goal = {};
  const auto width = static_cast<std::size_t>(environment.state_dim());
  environment.state(std::span(now).first(width));
  environment.goal_state(std::span(goal).first(width));
  return std::abs(std::remainder(goal[kAngle] - now[kAngle], 2 * std::numbers::pi)) * 180 /
         std::numbers::pi;
}

}  // namespace orrery
