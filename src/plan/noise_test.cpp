#include "plan/noise.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace orrery {
namespace {

std::vector<float> draw(Context& ctx, u64 seed, std::vector<PlanKey> keys, i64 iteration,
                        i64 samples, i64 horizon = 3, i64 dim = 3) {
  const i64 group = static_cast<i64>(keys.size());
  std::vector<float> values(static_cast<std::size_t>(group * samples * horizon * dim));
  CounterNoise noise(seed);
  noise.fill(ctx, keys, iteration, View<float, 4>(values.data(), {group, samples, horizon, dim}));
  return values;
}

TEST(CounterNoise, IsAPureFunctionOfSeedKeyIterationAndElement) {
  Context one({.threads = 1});
  Context three({.threads = 3});
  const std::vector<PlanKey> keys = {{4, 1}, {0, 7}};
  // 200 x 9 numbers: several pieces, an odd number in a row
  const auto values = draw(one, 11, keys, 2, 200);
  EXPECT_EQ(values, draw(three, 11, keys, 2, 200));

  for (const i64 e : {0, 1}) {
    const u64 stream = noise_stream(keys[static_cast<std::size_t>(e)], 2);
    for (i64 i = 0; i < 1800; ++i) {
      ASSERT_EQ(values[static_cast<std::size_t>(e * 1800 + i)],
                normal(11, stream, static_cast<u64>(i)))
          << e << ", " << i;
    }
  }
}

TEST(CounterNoise, DoesNotDependOnGroupingOrNumberOfSamples) {
  Context ctx({.threads = 2});
  const auto both = draw(ctx, 5, {{0, 0}, {1, 0}}, 0, 8);
  const auto alone = draw(ctx, 5, {{1, 0}}, 0, 20);
  EXPECT_TRUE(std::equal(both.begin() + 72, both.end(), alone.begin()));
}

TEST(CounterNoise, DiffersWhenAnyPartDiffers) {
  Context ctx({.threads = 1});
  const auto base = draw(ctx, 5, {{1, 2}}, 3, 4);
  EXPECT_NE(base, draw(ctx, 6, {{1, 2}}, 3, 4));
  EXPECT_NE(base, draw(ctx, 5, {{2, 2}}, 3, 4));
  EXPECT_NE(base, draw(ctx, 5, {{1, 3}}, 3, 4));
  EXPECT_NE(base, draw(ctx, 5, {{2, 1}}, 3, 4));
  EXPECT_NE(base, draw(ctx, 5, {{1, 2}}, 4, 4));
}

TEST(CounterNoise, DrawsTheSameNumbersInDouble) {
  Context ctx({.threads = 2});
  const auto narrow = draw(ctx, 5, {{1, 2}}, 3, 100);
  std::vector<double> wide(narrow.size());
  BasicCounterNoise<double> noise(5);
  const std::vector<PlanKey> keys = {{1, 2}};
  noise.fill(ctx, keys, 3, View<double, 4>(wide.data(), {1, 100, 3, 3}));
  EXPECT_TRUE(std::equal(wide.begin(), wide.end(), narrow.begin()));
}

TEST(RecordedNoise, HandsOutWhatWasGivenInOrderAndChecksIt) {
  Context ctx({.threads = 1});
  const std::vector<float> first = {1, 2, 3, 4}, second = {5, 6, 7, 8};
  RecordedNoise noise;
  noise.push(Tensor::of<float>({1, 2, 1, 2}, first));
  noise.push(Tensor::of<float>({1, 2, 2, 1}, second));
  std::vector<float> out(4);
  noise.fill(ctx, {}, 0, View<float, 4>(out.data(), {1, 2, 1, 2}));
  EXPECT_EQ(out, first);
  EXPECT_THROW(noise.fill(ctx, {}, 1, View<float, 4>(out.data(), {1, 2, 1, 2})), Error);
  noise.fill(ctx, {}, 1, View<float, 4>(out.data(), {1, 2, 2, 1}));
  EXPECT_EQ(out, second);
  EXPECT_EQ(noise.left(), 0u);
  EXPECT_THROW(noise.fill(ctx, {}, 2, View<float, 4>(out.data(), {1, 2, 2, 1})), Error);
}

}  // namespace
}  // namespace orrery
