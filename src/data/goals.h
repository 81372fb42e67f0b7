#pragma once

#include <array>
#include <optional>
#include <vector>

#include "base/numpy_random.h"
#include "data/windows.h"

namespace orrery {

struct GoalOptions {
  // how often a goal is: any row of the recording, a later step of the episode by a geometric law,
  // a later step by a uniform one, the window's own last observation
  std::array<double, 4> probabilities = {0.3, 0.5, 0.0, 0.2};
  double gamma = 0.99;               // the geometric law stops with 1 - gamma at each step
  std::optional<i64> current_steps;  // observations that are "now" already; none: all of a window
  u64 seed = 0;
};

// Draws a goal for each window that is looked at, as the official GoalDataset: one generator of
// NumPy runs on from access to access, so the order of access decides. Windows without a later step
// in their episode are left out when a later step can be drawn.
//
// exact: NumPy's draws; the geometric law by inversion of an exponential one (NumPy 1.22 and later)
class GoalDraws {
 public:
  enum class Kind { random, geometric_future, uniform_future, current };
  struct Goal {
    Kind kind = Kind::current;
    i64 episode = 0;
    i64 step = 0;  // within the episode
    i64 row = 0;   // of the recording
  };

  // The windows must outlive the draws.
  GoalDraws(const Windows& windows, GoalOptions options);

  i64 size() const { return before_.empty() ? 0 : before_.back(); }
  // the window that stands at an index of those that are left
  i64 window(i64 index) const;
  Goal draw(i64 index);

 private:
  i64 geometric(double p);
  double exponential();

  const Windows* windows_;
  GoalOptions options_;
  i64 now_ = 0;  // rows from a window's start to its current observation
  NumpyRandom random_;
  std::vector<i64> before_;   // windows left in the chosen episodes up to and with each
  std::vector<i64> skipped_;  // windows left out in the chosen episodes before each
};

}  // namespace orrery
