#include "ops/column_sums_bf16.h"

#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

TEST(ColumnSumsBf16, AreAddedAndSteady) {
  for (const i64 rows : {1, 31, 3000}) {
    constexpr i64 kCols = 37, kStride = 40;
    std::vector<bf16> x;
    for (const float value : random_values<float>(rows * kStride, 1)) x.push_back(bf16(value));
    const View<const bf16, 2> view(x.data(), {rows, kCols}, {kStride, 1});
    std::vector<float> first;
    for (const int threads : {1, 3}) {
      Context ctx({.threads = threads});
      std::vector<float> sums(kCols, 0.5f);
      add_column_sums(ctx, view, View<float, 1>(sums.data(), {kCols}));
      if (first.empty()) first = sums;
      EXPECT_EQ(first, sums);
      for (i64 c = 0; c < kCols; ++c) {
        double sum = 0.5;
        for (i64 r = 0; r < rows; ++r) sum += static_cast<double>(static_cast<float>(view(r, c)));
        // random sums of `rows` values of unit size, rounded at every addition
        EXPECT_NEAR(static_cast<double>(sums[static_cast<std::size_t>(c)]), sum,
                    1e-6 * static_cast<double>(rows));
      }
    }
  }
}

}  // namespace
}  // namespace orrery
