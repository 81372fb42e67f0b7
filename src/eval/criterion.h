#pragma once

#include "env/environment.h"
#include "eval/evaluation.h"

namespace orrery {

// Follows one episode and says when it is a success by a criterion.
class Judge {
 public:
  explicit Judge(const Criterion& criterion);

  // After every step, with what the step told; true once the episode is a success, which ends it.
  bool succeeded(const Environment& environment, const Step& step);

 private:
  Criterion criterion_;
  i64 in_a_row_ = 0;  // steps at the goal, up to now
};

// Between the block's angle and the goal's, 0 to 180 degrees, of a PushT environment; 0 for one
// without angles.
double degrees_to_goal(const Environment& environment);

}  // namespace orrery
