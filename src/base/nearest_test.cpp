#include "base/nearest.h"

#include <gtest/gtest.h>

#include <vector>

namespace orrery {
namespace {

TEST(NearestName, TakesTheFewestEdits) {
  const std::vector<std::string> names = {"steps", "batch", "checkpoint_every"};
  EXPECT_EQ(nearest_name("stepz", names), "steps");
  EXPECT_EQ(nearest_name("step", names), "steps");
  EXPECT_EQ(nearest_name("batchs", names), "batch");
  EXPECT_EQ(nearest_name("checkpoint-every", names), "checkpoint_every");
  EXPECT_EQ(nearest_name("", names), "steps");  // five letters, the first of two
  EXPECT_EQ(nearest_name("a", {}), "");
}

}  // namespace
}  // namespace orrery
