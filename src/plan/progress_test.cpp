#include "plan/progress.h"

#include <gmock/gmock.h>

#include <limits>
#include <vector>

#include "ops/test_support.h"

namespace orrery {
namespace {

using test::Buffer;
using testing::ElementsAre;

// progress after one more iteration than `done`
std::vector<i32> after(Context& ctx, i32 done, const std::vector<float>& spread, i64 width,
                       i64 iterations, double enough, u64 budget_ns = 0) {
  Buffer<float> std(ctx, spread);
  Buffer<i32> progress(ctx, std::vector<i32>{done, 1});
  const i64 group = static_cast<i64>(spread.size()) / width;
  Buffer<u64> clock(ctx, std::vector<u64>{budget_ns, 0});
  start_clock(ctx, clock.flat());
  advance<float>(ctx, std.view<3>({group, 1, width}), iterations, enough, clock.flat(),
                 progress.flat());
  return progress.values();
}

TEST_ON_EVERY_BACKEND(Progress, CountsToTheNumberOfIterations) {
  EXPECT_THAT(after(ctx, 0, {1, 1}, 2, 3, 0), ElementsAre(1, 1));
  EXPECT_THAT(after(ctx, 1, {1, 1}, 2, 3, 0), ElementsAre(2, 1));
  EXPECT_THAT(after(ctx, 2, {1, 1}, 2, 3, 0), ElementsAre(3, 0));
}

TEST_ON_EVERY_BACKEND(Progress, EndsWhenTimeIsUp) {
  constexpr u64 kHour = 3'600'000'000'000;
  EXPECT_THAT(after(ctx, 0, {1, 1}, 2, 3, 0, kHour), ElementsAre(1, 1));
  EXPECT_THAT(after(ctx, 0, {1, 1}, 2, 3, 0, 1), ElementsAre(1, 0));
}

TEST(Progress, AnotherIterationMustFit) {
  EXPECT_TRUE(another_fits(0, 1'000'000, 1)) << "no limit";
  EXPECT_TRUE(another_fits(400, 300, 3));
  EXPECT_FALSE(another_fits(399, 300, 3));
}

TEST_ON_EVERY_BACKEND(Progress, EndsEarlyWhenEveryEnvironmentIsNarrow) {
  // 20 environments of 40 numbers: more than a block's warps and lanes
  std::vector<float> spread(800, 0.5f);
  EXPECT_THAT(after(ctx, 0, spread, 40, 9, 0.5), ElementsAre(1, 0));
  EXPECT_THAT(after(ctx, 0, spread, 40, 9, 0.49), ElementsAre(1, 1));
  // the average of one environment decides, not one number
  spread[19 * 40 + 39] = 2;
  EXPECT_THAT(after(ctx, 0, spread, 40, 9, 0.5), ElementsAre(1, 1));
  EXPECT_THAT(after(ctx, 0, spread, 40, 9, 0.6), ElementsAre(1, 0));
  spread[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(after(ctx, 0, spread, 40, 9, 0.6), ElementsAre(1, 1));
}

}  // namespace
}  // namespace orrery
