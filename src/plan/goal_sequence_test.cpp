#include "plan/goal_sequence.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace orrery {
namespace {

TEST(GoalSequence, TakesUpTheNextWhenOneIsReached) {
  GoalSequence sequence(3, {.reached = 2.0});
  EXPECT_EQ(sequence.current(), 0);
  EXPECT_FALSE(sequence.see(2.1, 5));
  EXPECT_FALSE(sequence.see(std::nan(""), 5));
  EXPECT_EQ(sequence.blocks(), 10);
  EXPECT_TRUE(sequence.see(2.0, 5));
  EXPECT_EQ(sequence.current(), 1);
  EXPECT_EQ(sequence.blocks(), 0);
  EXPECT_TRUE(sequence.see(0.5, 0)) << "the next one may be reached already";
  EXPECT_FALSE(sequence.see(0.0, 0)) << "the last one stays";
  EXPECT_EQ(sequence.current(), 2);
  sequence.reset();
  EXPECT_EQ(sequence.current(), 0);
}

TEST(GoalSequence, TakesUpTheNextAfterAWhile) {
  GoalSequence sequence(3, {.blocks = 4});
  EXPECT_FALSE(sequence.see(0, 0)) << "no distance was said to be near enough";
  EXPECT_FALSE(sequence.see(9, 3));
  EXPECT_TRUE(sequence.see(9, 3));
  EXPECT_FALSE(sequence.see(9, 3)) << "counted anew for every goal";
  EXPECT_TRUE(sequence.see(9, 1));
  EXPECT_FALSE(sequence.see(9, 100));
  EXPECT_EQ(sequence.current(), 2);
}

TEST(GoalSequence, SaysWhatMakesNoSense) {
  EXPECT_THROW(GoalSequence(0, {}), Error);
  EXPECT_THROW(GoalSequence(2, {}), Error);
  EXPECT_NO_THROW(GoalSequence(1, {}));
  EXPECT_THROW(GoalSequence(2, {.reached = -1}), Error);
  EXPECT_THROW(GoalSequence(2, {.reached = std::nan("")}), Error);
  EXPECT_THROW(GoalSequence(2, {.blocks = -1}), Error);
  GoalSequence sequence(2, {.blocks = 1});
  EXPECT_THROW(sequence.see(0, -1), Error);
}

}  // namespace
}  // namespace orrery
