#include "ops/column_sums_bf16.h"

#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

std::vector<float> sums_of(Context& ctx, const std::vector<bf16>& x, i64 rows, i64 cols,
                           i64 stride) {
  Buffer<bf16> there(ctx, x);
  Buffer<float> sums(ctx, std::vector<float>(static_cast<std::size_t>(cols), 0.5f));
  add_column_sums(ctx, View<const bf16, 2>(there.data(), {rows, cols}, {stride, 1}), sums.flat());
  return sums.values();
}

TEST_ON_EVERY_BACKEND(ColumnSumsBf16, EqualPlainSums) {
  for (const i64 rows : {1, 31, 5000}) {
    for (const i64 cols : {37, 40, 600}) {
      if (rows == 5000 && cols == 600) continue;
      const i64 stride = cols + 4;
      std::vector<bf16> x;
      for (const float value : random_values<float>(rows * stride, 1)) x.push_back(bf16(value));
      const auto sums = sums_of(ctx, x, rows, cols, stride);
      for (i64 c = 0; c < cols; ++c) {
        double sum = 0.5;
        for (i64 r = 0; r < rows; ++r) {
          sum +=
              static_cast<double>(static_cast<float>(x[static_cast<std::size_t>(r * stride + c)]));
        }
        // random sums of `rows` values of unit size, rounded at every addition
        EXPECT_NEAR(static_cast<double>(sums[static_cast<std::size_t>(c)]), sum,
                    1e-6 * static_cast<double>(rows));
      }
    }
  }
}

TEST(ColumnSumsBf16, AreSteady) {
  std::vector<bf16> x;
  for (const float value : random_values<float>(3000 * 37, 1)) x.push_back(bf16(value));
  expect_same_bits_for_any_threads([&](Context& ctx) { return sums_of(ctx, x, 3000, 37, 37); });
}

}  // namespace
}  // namespace orrery
