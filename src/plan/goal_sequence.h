#pragma once

#include "base/types.h"

namespace orrery {

// When the next of several goals is taken up. The released planners know one goal; this is ours.
struct GoalAdvance {
  // A goal is reached when the squared distance of the present latent to the goal's is no more;
  // 0: distance decides nothing.
  double reached = 0;
  // Blocks of actions after which the next goal is taken up whatever was reached; 0: no limit.
  i64 blocks = 0;
};

// Which of several goals an environment heads for. Goals are taken in their order; the last one
// stays, reached or not. exact
//
//   while (sequence.see(distance_to(sequence.current()), blocks)) blocks = 0;
class GoalSequence {
 public:
  // Error: no goals, a distance that is negative or not a number, negative blocks, or several goals
  // without any rule to advance by.
  GoalSequence(i64 goals, GoalAdvance when);

  i64 goals() const { return goals_; }
  i64 current() const { return current_; }
  // of the current goal
  i64 blocks() const { return blocks_; }

  // Told before a plan: the squared distance to the current goal, and how many blocks were carried
  // out since it was told last. Whether another goal is current now; a NaN distance reaches
  // nothing.
  bool see(double distance, i64 blocks);

  // The environment begins anew.
  void reset();

 private:
  i64 goals_;
  GoalAdvance when_;
  i64 current_ = 0;
  i64 blocks_ = 0;
};

}  // namespace orrery
