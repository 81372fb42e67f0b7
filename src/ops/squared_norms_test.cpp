#include "ops/squared_norms.h"

#include "base/error.h"
#include "ops/squared_norms_ref.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

TEST_ON_EVERY_BACKEND(SquaredNorms, EqualReference) {
  for (const i64 dim : kLengths) {
    for (const i64 rows : {1, 3, 4, 5, 65, 130}) {
      const auto x = random_values(rows * dim, 1), before = random_values(rows, 2);
      Buffer<float> there(ctx, x), out(ctx, before);
      add_squared_norms(ctx, there.view<2>({rows, dim}), 0.25f, out.flat());
      const auto values = out.values();
      for (i64 r = 0; r < rows; ++r) {
        const double expected =
            static_cast<double>(before[static_cast<std::size_t>(r)]) +
            0.25 * squared_norm_ref(View<const float, 1>(x.data() + r * dim, {dim}));
        // rounded once
        EXPECT_NEAR(values[static_cast<std::size_t>(r)], expected, 0x1p-23 * std::abs(expected))
            << dim << ", row " << r;
      }
    }
  }
  Buffer<float> nothing(ctx, 0);
  add_squared_norms(ctx, nothing.view<2>({0, 4}), 1.0f, nothing.flat());
}

TEST(SquaredNorms, RefusesWhatDoesNotFit) {
  Context ctx({.threads = 1});
  std::vector<float> six(6), two(2);
  const View<const float, 2> rows(six.data(), {3, 2});
  EXPECT_THROW(add_squared_norms(ctx, rows, 1, view1(two)), Error);
  EXPECT_THROW(add_squared_norms(ctx, rows.slice(1, 0, 1), 1, {six.data(), {3}}), Error);
}

}  // namespace
}  // namespace orrery
