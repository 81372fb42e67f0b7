#include "device/context.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace orrery {
namespace {

TEST(Context, RunsEveryIndexOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    Context ctx({.threads = threads});
    EXPECT_EQ(ctx.threads(), threads);
    for (const i64 count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> hits(static_cast<std::size_t>(count));
      ctx.parallel(count, [&](i64 index, int worker) {
        EXPECT_GE(worker, 0);
        EXPECT_LT(worker, threads);
        hits[static_cast<std::size_t>(index)]++;
      });
      for (const auto& hit : hits) EXPECT_EQ(hit, 1);
    }
  }
}

TEST(Context, NestedWorkStaysOnItsWorker) {
  Context ctx({.threads = 4});
  std::atomic<int> inner = 0;
  ctx.parallel(16, [&](i64, int worker) {
    ctx.parallel(5, [&](i64, int nested) {
      EXPECT_EQ(nested, worker);
      inner++;
    });
  });
  EXPECT_EQ(inner, 80);
}

TEST(Context, ManySmallRoundsFinish) {
  Context ctx({.threads = 3});
  i64 total = 0;
  for (int round = 0; round < 3000; ++round) {
    std::atomic<i64> sum = 0;
    ctx.parallel(4, [&](i64 index, int) { sum += index; });
    total += sum;
  }
  EXPECT_EQ(total, 6 * 3000);
}

TEST(Context, RangesCoverWithoutOverlap) {
  Context ctx({.threads = 2});
  std::vector<int> hits(103);
  ctx.parallel_ranges(103, 10, [&](i64 begin, i64 end, int) {
    for (i64 i = begin; i < end; ++i) hits[static_cast<std::size_t>(i)]++;
  });
  for (const int hit : hits) EXPECT_EQ(hit, 1);
}

// which worker gets which index is chance: the next time it may be the other one
TEST(Context, ScratchOfOneWorkerIsThereForAll) {
  Context ctx({.threads = 2});
  ctx.parallel(1, [&](i64, int worker) {
    ASSERT_EQ(worker, 0);
    ctx.worker_scratch(worker, 4096);
  });
  const std::byte* scratch = ctx.worker_scratch(1, 1);
  EXPECT_EQ(ctx.worker_scratch(1, 4096), scratch);
}

}  // namespace
}  // namespace orrery
