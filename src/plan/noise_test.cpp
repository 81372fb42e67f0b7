#include "plan/noise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using test::Buffer;

std::vector<float> draw(Context& ctx, u64 seed, const std::vector<PlanKey>& keys, i32 iteration,
                        i64 samples, i64 horizon = 3, i64 dim = 3) {
  const i64 group = static_cast<i64>(keys.size());
  Buffer<PlanKey> who(ctx, keys);
  Buffer<i32> which(ctx, std::vector<i32>{iteration});
  Buffer<float> values(ctx, group * samples * horizon * dim);
  CounterNoise noise(seed);
  noise.fill(ctx, who.flat(), which.flat(), values.view<4>({group, samples, horizon, dim}));
  return values.values();
}

TEST_ON_EVERY_BACKEND(CounterNoise, IsAPureFunctionOfSeedKeyIterationAndElement) {
  const std::vector<PlanKey> keys = {{4, 1}, {0, 7}};
  // 200 x 9 numbers: several pieces, an odd number in a row
  const auto values = draw(ctx, 11, keys, 2, 200);
  Context three({.threads = 3});
  if (ctx.device() == Device::cpu) {
    EXPECT_EQ(values, draw(three, 11, keys, 2, 200));
  }

  int different = 0;
  for (const i64 e : {0, 1}) {
    const u64 stream = noise_stream(keys[static_cast<std::size_t>(e)], 2);
    for (i64 i = 0; i < 1800; ++i) {
      const float value = values[static_cast<std::size_t>(e * 1800 + i)];
      const float needed = normal(11, stream, static_cast<u64>(i));
      // another library's logarithm, sine and cosine, rounded once: the next float at most
      ASSERT_NEAR(value, needed, 1.2e-7 * std::abs(needed)) << e << ", " << i;
      different += value != needed ? 1 : 0;
    }
  }
  // 3600 numbers with errors of 2^-52 before they are rounded to 2^-24: one in 10^5 runs has one
  EXPECT_EQ(different, 0);
}

TEST_ON_EVERY_BACKEND(CounterNoise, DoesNotDependOnGroupingOrNumberOfSamples) {
  const auto both = draw(ctx, 5, {{0, 0}, {1, 0}}, 0, 8);
  const auto alone = draw(ctx, 5, {{1, 0}}, 0, 20);
  EXPECT_TRUE(std::equal(both.begin() + 72, both.end(), alone.begin()));
}

TEST_ON_EVERY_BACKEND(CounterNoise, UniformIsAPureFunctionToo) {
  const std::vector<PlanKey> keys = {{4, 1}, {0, 7}};
  const i32 iteration = 2;
  const i64 samples = 333;  // 2997 numbers: no multiple of four
  Buffer<PlanKey> keys_there(ctx, keys);
  Buffer<i32> iteration_there(ctx, std::vector<i32>{iteration});
  Buffer<float> out(ctx, 2 * samples * 9);
  CounterNoise noise(11);
  noise.fill_uniform(ctx, keys_there.flat(), iteration_there.flat(),
                     out.view<4>({2, samples, 3, 3}));
  const auto values = out.values();
  for (i64 e = 0; e < 2; ++e) {
    const u64 stream = noise_stream(keys[static_cast<std::size_t>(e)], iteration);
    for (i64 i = 0; i < samples * 9; ++i) {
      ASSERT_EQ(values[static_cast<std::size_t>(e * samples * 9 + i)],
                uniform(11, stream, static_cast<u64>(i)));
    }
  }
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
  const PlanKey key = {1, 2};
  const i32 iteration = 3;
  noise.fill(ctx, {&key, {1}}, {&iteration, {1}}, {wide.data(), {1, 100, 3, 3}});
  EXPECT_TRUE(std::equal(wide.begin(), wide.end(), narrow.begin()));
}

TEST(RecordedNoise, HandsOutWhatWasGivenInOrderAndChecksIt) {
  Context ctx({.threads = 1});
  const std::vector<float> first = {1, 2, 3, 4}, second = {5, 6, 7, 8};
  RecordedNoise noise;
  noise.push(Tensor::of<float>({1, 2, 1, 2}, first));
  noise.push(Tensor::of<float>({1, 2, 2, 1}, second));
  std::vector<float> out(4);
  noise.fill(ctx, {}, {}, View<float, 4>(out.data(), {1, 2, 1, 2}));
  EXPECT_EQ(out, first);
  EXPECT_THROW(noise.fill(ctx, {}, {}, View<float, 4>(out.data(), {1, 2, 1, 2})), Error);
  noise.fill(ctx, {}, {}, View<float, 4>(out.data(), {1, 2, 2, 1}));
  EXPECT_EQ(out, second);
  EXPECT_EQ(noise.left(), 0u);
  EXPECT_THROW(noise.fill(ctx, {}, {}, View<float, 4>(out.data(), {1, 2, 2, 1})), Error);
}

}  // namespace
}  // namespace orrery
