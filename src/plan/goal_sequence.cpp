#include "plan/goal_sequence.h"

#include "base/error.h"

namespace orrery {

GoalSequence::GoalSequence(i64 goals, GoalAdvance when) : goals_(goals), when_(when) {
  check(goals >= 1, "goals: ", goals, " were given, at least one was needed");
  check(when.reached >= 0, "goals: the distance that counts as reached is ", when.reached,
        ", from 0 up was needed");
  check(when.blocks >= 0, "goals: the next one is taken up after ", when.blocks,
        " blocks, from 0 (never) up was needed");
  check(goals == 1 || when.reached > 0 || when.blocks > 0, "goals: ", goals,
        " were given, and neither a distance nor a number of blocks to advance by");
}

bool GoalSequence::see(double distance, i64 blocks) {
  check(blocks >= 0, "goals: ", blocks, " blocks were carried out, from 0 up was needed");
  blocks_ += blocks;
  if (current_ + 1 == goals_) return false;
  const bool reached = when_.reached > 0 && distance <= when_.reached;
  const bool over = when_.blocks > 0 && blocks_ >= when_.blocks;
  if (!reached && !over) return false;
  ++current_;
  blocks_ = 0;
  return true;
}

void GoalSequence::reset() {
  current_ = 0;
  blocks_ = 0;
}

}  // namespace orrery
