#include "ops/adamw.h"

#include "ops/adamw_ref.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

constexpr AdamW kSettings = {.lr = 3e-3f, .weight_decay = 0.05f};

TEST_ON_EVERY_BACKEND(AdamW, EqualsReferenceBitForBit) {
  for (const i64 n : {0, 1, 15, 16, 17, 31, 33, 64, 999, 40000}) {
    auto parameter = random_values(n, 1), m = random_values(n, 2, 0.1f),
         v = random_values(n, 3, 0.1f);
    for (float& value : v) value *= value;
    auto expected = parameter, expected_m = m, expected_v = v;
    Buffer<float> parameter_(ctx, parameter), m_(ctx, m), v_(ctx, v);
    for (i64 step = 1; step <= 3; ++step) {
      const auto gradient = random_values(n, static_cast<u64>(10 + step));
      Buffer<float> gradient_(ctx, gradient);
      adamw_step(ctx, kSettings, {}, step, 0.7f, gradient_.flat(), parameter_.flat(), m_.flat(),
                 v_.flat());
      const auto factors = adamw_factors<float>(kSettings, step);
      for (std::size_t i = 0; i < gradient.size(); ++i) {
        adamw_element_ref(factors, gradient[i] * 0.7f, expected[i], expected_m[i], expected_v[i]);
      }
    }
    EXPECT_TRUE(same_bits(parameter_.values(), expected)) << "n = " << n;
    EXPECT_TRUE(same_bits(m_.values(), expected_m)) << "n = " << n;
    EXPECT_TRUE(same_bits(v_.values(), expected_v)) << "n = " << n;
  }
}

TEST_ON_EVERY_BACKEND(AdamW, GroupsAreStepsOfTheirOwn) {
  const i64 n = 40000;  // more than two pieces
  // ends within and at the edge of a piece of 16384; one group is empty, one does not learn
  const std::vector<AdamWGroup> groups = {{7, 0.5f, 0.0f},
                                          {16384, 1.0f, 0.05f},
                                          {16384, 9.0f, 9.0f},
                                          {20001, 0.0f, 0.3f},
                                          {n, 2.0f, 0.01f}};
  const auto start = random_values(n, 1);
  auto parameter = start, m = random_values(n, 2, 0.1f), v = random_values(n, 3, 0.1f);
  for (float& value : v) value *= value;
  auto expected = parameter, expected_m = m, expected_v = v;
  const auto gradient = random_values(n, 10);
  {
    Buffer<float> gradient_(ctx, gradient), parameter_(ctx, parameter), m_(ctx, m), v_(ctx, v);
    adamw_step(ctx, kSettings, groups, 2, 0.7f, gradient_.flat(), parameter_.flat(), m_.flat(),
               v_.flat());
    parameter = parameter_.values();
    m = m_.values();
    v = v_.values();
  }
  i64 begin = 0;
  for (const AdamWGroup& group : groups) {
    AdamW own = kSettings;
    own.lr *= group.lr_scale;
    own.weight_decay = group.weight_decay;
    const auto factors = adamw_factors<float>(own, 2);
    for (; begin < group.end; ++begin) {
      const auto i = static_cast<std::size_t>(begin);
      adamw_element_ref(factors, gradient[i] * 0.7f, expected[i], expected_m[i], expected_v[i]);
    }
  }
  EXPECT_TRUE(same_bits(parameter, expected));
  EXPECT_TRUE(same_bits(m, expected_m));
  EXPECT_TRUE(same_bits(v, expected_v));
  EXPECT_TRUE(
      std::equal(parameter.begin() + 16384, parameter.begin() + 20001, start.begin() + 16384));
}

TEST_ON_EVERY_BACKEND(MoveTowards, EqualsTheFormulaBitForBit) {
  for (const i64 n : {0, 1, 15, 16, 17, 31, 33, 40000}) {
    const auto x = random_values(n, 1);
    auto y = random_values(n, 2), expected = y;
    {
      Buffer<float> x_(ctx, x), y_(ctx, y);
      move_towards(ctx, 0.01f, x_.flat(), y_.flat());
      y = y_.values();
    }
    for (std::size_t i = 0; i < x.size(); ++i) expected[i] += 0.01f * (x[i] - expected[i]);
    EXPECT_TRUE(same_bits(y, expected)) << "n = " << n;
  }
}

// the same step with its numbers where the context works; one that is not finite changes nothing
TEST_ON_EVERY_BACKEND(AdamW, TakesTheClippedGradientWhereItLies) {
  const i64 n = 3000;
  const std::vector<AdamWGroup> groups = {{1500, 0.5f, 0.0f}, {n, 1.0f, 0.05f}};
  const auto gradient = random_values(n, 1), start = random_values(n, 2);
  Buffer<float> gradient_(ctx, gradient), parameter(ctx, start), m(ctx, n), v(ctx, n),
      expected(ctx, start), expected_m(ctx, n), expected_v(ctx, n);
  Buffer<AdamWStretch> stretches(ctx, adamw_stretches(kSettings, groups, 3, n));
  const auto step = [&](const std::vector<double>& clipped) {
    Buffer<double> there(ctx, clipped);
    adamw_step(ctx, stretches.flat(), there.flat(), gradient_.flat(), parameter.flat(), m.flat(),
               v.flat());
  };
  step({1.0, static_cast<double>(NAN)});
  EXPECT_TRUE(same_bits(parameter.values(), start));
  EXPECT_TRUE(same_bits(m.values(), std::vector<float>(n)));
  step({1.0, 0.25});
  adamw_step(ctx, kSettings, groups, 3, 0.25f, gradient_.flat(), expected.flat(), expected_m.flat(),
             expected_v.flat());
  EXPECT_TRUE(same_bits(parameter.values(), expected.values()));
  EXPECT_TRUE(same_bits(m.values(), expected_m.values()));
  EXPECT_TRUE(same_bits(v.values(), expected_v.values()));
  EXPECT_FALSE(same_bits(parameter.values(), start));
}

// by hand: with m = v = 0 the first step moves every parameter by lr against its gradient's sign,
// after the decay
TEST(AdamW, FirstStepMovesByTheLearningRate) {
  Context ctx({.threads = 1});
  std::vector<float> parameter = {1.0f, -2.0f}, m(2), v(2);
  const std::vector<float> gradient = {0.5f, -0.001f};
  adamw_step(ctx, {.lr = 0.01f, .weight_decay = 0.1f}, {}, 1, 1.0f, view1(gradient),
             view1(parameter), view1(m), view1(v));
  EXPECT_NEAR(parameter[0], 1.0 * (1 - 0.001) - 0.01, 1e-6);
  EXPECT_NEAR(parameter[1], -2.0 * (1 - 0.001) + 0.01, 1e-6);
}

TEST(AdamW, RefusesStepZeroAndUnequalSizes) {
  Context ctx({.threads = 1});
  std::vector<float> three(3), four(4);
  EXPECT_THROW(
      adamw_step(ctx, {}, {}, 0, 1.0f, view1(three), view1(three), view1(three), view1(three)),
      Error);
  EXPECT_THROW(
      adamw_step(ctx, {}, {}, 1, 1.0f, view1(four), view1(three), view1(three), view1(three)),
      Error);
  const std::vector<AdamWGroup> two = {{2, 1.0f, 0.0f}};
  const std::vector<AdamWGroup> backwards = {{3, 1.0f, 0.0f}, {2, 1.0f, 0.0f}};
  for (const auto& groups : {two, backwards}) {
    EXPECT_THROW(adamw_step(ctx, {}, groups, 1, 1.0f, view1(three), view1(three), view1(three),
                            view1(three)),
                 Error);
  }
}

}  // namespace
}  // namespace orrery
