#include "ops/activation_bf16.h"

#include "ops/activation_ref.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

TEST_ON_EVERY_BACKEND(ActivationBf16, EqualsReferenceBothWays) {
  for (const Activation activation : {Activation::gelu, Activation::silu, Activation::none}) {
    for (const i64 count : {1, 7, 16, 33, 40000}) {
      std::vector<bf16> x, dy;
      for (const float value : random_values<float>(count, 1)) x.push_back(bf16(3 * value));
      for (const float value : random_values<float>(count, 2)) dy.push_back(bf16(value));
      Buffer<bf16> from(ctx, x), to(ctx, count), slopes(ctx, dy);
      activate_bf16(ctx, activation, from.flat(), to.flat());
      // in place
      activate_bf16_backward(ctx, activation, from.flat(), slopes.flat(), slopes.flat());
      const std::vector<bf16> y = to.values(), dx = slopes.values();
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double at = static_cast<double>(static_cast<float>(x[i]));
        const double value = activation_ref(activation, at);
        const double slope =
            static_cast<double>(static_cast<float>(dy[i])) * activation_slope_ref(activation, at);
        // half of the last place of eight bits, and what f32 loses before
        ASSERT_NEAR(static_cast<double>(static_cast<float>(y[i])), value,
                    0x1p-8 * std::abs(value) + 1e-6)
            << at;
        ASSERT_NEAR(static_cast<double>(static_cast<float>(dx[i])), slope,
                    0x1p-8 * std::abs(slope) + 2e-6)
            << at;
      }
    }
  }
}

}  // namespace
}  // namespace orrery
