#include "ops/gradient_clip.h"

#include <cmath>

#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

std::vector<double> clip(Context& ctx, const std::vector<float>& gradient, double share,
                         double most, const std::vector<double>& loss = {}) {
  Buffer<float> there(ctx, gradient);
  Buffer<double> loss_(ctx, loss), result(ctx, 2);
  gradient_clip(ctx, there.flat(), share, most,
                loss.empty() ? View<const double, 1>{} : loss_.flat(), result.flat());
  return result.values();
}

TEST_ON_EVERY_BACKEND(GradientClip, NormAndFactor) {
  for (const i64 n : {1, 3, 255, 256, 257, 40000, 600000}) {
    const auto gradient = random_values(n, 1);
    double squares = 0;
    for (const float g : gradient) squares += static_cast<double>(g) * static_cast<double>(g);
    const double norm = 0.5 * std::sqrt(squares);
    // squares are exact in double; their sums are rounded n times at most
    const double close = 1e-16 * static_cast<double>(n) + 1e-15;
    const auto tight = clip(ctx, gradient, 0.5, 0.1 * norm);
    EXPECT_NEAR(tight[0], norm, close * norm) << n;
    EXPECT_NEAR(tight[1], 0.5 * 0.1 * norm / (norm + 1e-6), close) << n;
    EXPECT_EQ(clip(ctx, gradient, 0.5, 2 * norm)[1], 0.5) << n;
    EXPECT_EQ(clip(ctx, gradient, 0.5, 0.0)[1], 0.5) << n;
  }
}

TEST_ON_EVERY_BACKEND(GradientClip, WhatIsNotFiniteGivesNoFactor) {
  const std::vector<float> fine = {3.0f, 4.0f};
  EXPECT_EQ(clip(ctx, fine, 1.0, 0.0, {2.0}), (std::vector<double>{5.0, 1.0}));
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    EXPECT_TRUE(std::isnan(clip(ctx, {1.0f, bad}, 1.0, 1.0)[1]));
    const auto of_loss = clip(ctx, fine, 1.0, 1.0, {static_cast<double>(bad)});
    EXPECT_EQ(of_loss[0], 5.0);
    EXPECT_TRUE(std::isnan(of_loss[1]));
  }
}

TEST(GradientClip, RefusesAShareOfNothing) {
  Context ctx({.threads = 1});
  EXPECT_THROW(clip(ctx, {1.0f}, 0.0, 1.0), Error);
}

}  // namespace
}  // namespace orrery
