#include "ops/activation.h"

#include <limits>

#include "ops/activation_ref.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

constexpr Activation kAll[] = {Activation::none, Activation::gelu, Activation::silu};

// distance in units of the last place of the exact value, as a float has it
double ulps(float value, double exact) {
  const float size = std::abs(static_cast<float>(exact));
  const double ulp =
      static_cast<double>(std::nextafter(size, std::numeric_limits<float>::infinity())) - size;
  return std::abs(static_cast<double>(value) - exact) / ulp;
}

TEST_ON_EVERY_BACKEND(Activation, IsWithinFiveUlp) {
  // a fine grid over everything that matters, and values far out
  std::vector<float> x;
  for (int i = -200000; i <= 200000; ++i) x.push_back(static_cast<float>(i) * 1e-4f + 3e-6f);
  for (const float far : {50.0f, 90.0f, 1e4f, 1e20f}) {
    x.push_back(far);
    x.push_back(-far);
  }
  x.push_back(0.0f);
  Buffer<float> from(ctx, x), to(ctx, static_cast<i64>(x.size()));
  for (const Activation activation : kAll) {
    activate(ctx, activation, from.flat(), to.flat());
    const auto y = to.values();
    double worst_ulps = 0, worst_small = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double exact = activation_ref(activation, x[i]);
      if (std::abs(exact) > 1e-6) {
        worst_ulps = std::max(worst_ulps, ulps(y[i], exact));
      } else {
        worst_small = std::max(worst_small, std::abs(static_cast<double>(y[i]) - exact));
      }
    }
    EXPECT_LE(worst_ulps, 5.0) << static_cast<int>(activation);
    EXPECT_LE(worst_small, 1e-9) << static_cast<int>(activation);
  }
}

TEST_ON_EVERY_BACKEND(Activation, KeepsNaNAndInfinity) {
  const std::vector<float> x = {std::numeric_limits<float>::quiet_NaN(),
                                std::numeric_limits<float>::infinity()};
  for (const Activation activation : kAll) {
    Buffer<float> from(ctx, x), to(ctx, 2);
    activate(ctx, activation, from.flat(), to.flat());
    const auto y = to.values();
    EXPECT_TRUE(std::isnan(y[0]));
    EXPECT_EQ(y[1], x[1]);
  }
}

TEST_ON_EVERY_BACKEND(Activation, BackwardEqualsReference) {
  for (const i64 n : kLengths) {
    auto x = random_values(n, 1, 2.0f);
    if (n > 2) x[0] = 40.0f, x[1] = -40.0f;
    const auto dy = random_values(n, 2);
    Buffer<float> x_there(ctx, x);
    for (const Activation activation : kAll) {
      std::vector<double> expected(x.size());
      for (std::size_t i = 0; i < x.size(); ++i) {
        expected[i] = static_cast<double>(dy[i]) * activation_slope_ref(activation, x[i]);
      }
      Buffer<float> dx(ctx, dy);  // in place
      activate_backward(ctx, activation, x_there.flat(), dx.flat(), dx.flat());
      // slopes are within 1e-6 for |x| <= 40, |dy| stays below 5
      EXPECT_LE(max_difference(dx.values(), expected), 5e-6) << "n = " << n;
    }
  }
}

TEST(Activation, SlopeIsTheDerivative) {
  for (const Activation activation : kAll) {
    for (double v = -6; v <= 6; v += 0.37) {
      const double h = 1e-5;
      const double slope =
          (activation_ref(activation, v + h) - activation_ref(activation, v - h)) / (2 * h);
      EXPECT_NEAR(slope, activation_slope_ref(activation, v), 1e-9) << v;
    }
  }
}

TEST(Activation, RefusesUnequalSizes) {
  Context ctx({.threads = 1});
  std::vector<float> three(3), four(4);
  EXPECT_THROW(activate(ctx, Activation::gelu, view1(three), view1(four)), Error);
}

}  // namespace
}  // namespace orrery
