#include "ops/elementwise.h"

#include "ops/elementwise_ref.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

TEST_ON_EVERY_BACKEND(Elementwise, SumsAndScalesExactly) {
  for (const i64 n : {0, 1, 15, 16, 17, 31, 33, 64, 999, 1000, 40000}) {
    const auto a = random_values(n, 1);
    const auto b = random_values(n, 2);
    Buffer<float> a_there(ctx, a), b_there(ctx, b), y(ctx, n);
    std::vector<float> expected(a.size());
    add(ctx, a_there.flat(), b_there.flat(), y.flat());
    for (std::size_t i = 0; i < a.size(); ++i) expected[i] = a[i] + b[i];
    EXPECT_TRUE(same_bits(y.values(), expected)) << "add, n = " << n;

    add_scaled(ctx, 0.3f, a_there.flat(), y.flat());
    for (std::size_t i = 0; i < a.size(); ++i) expected[i] += 0.3f * a[i];
    EXPECT_TRUE(same_bits(y.values(), expected)) << "add_scaled, n = " << n;

    scale(ctx, -1.7f, y.flat());
    for (float& value : expected) value *= -1.7f;
    EXPECT_TRUE(same_bits(y.values(), expected)) << "scale, n = " << n;
  }
}

TEST_ON_EVERY_BACKEND(Elementwise, ColumnSumsEqualReference) {
  for (const i64 rows : {0, 1, 31, 32, 33, 2500}) {
    for (const i64 dim : {1, 15, 16, 17, 33, 96}) {
      // rows of a wider matrix: the stride is not the width
      const auto x = random_values(rows * (dim + 3), 3, 1.0f, 0.5f);
      const View<const float, 2> view(x.data(), {rows, dim}, {dim + 3, 1});
      auto expected = random_values(dim, 4);
      Buffer<float> there(ctx, x), sums(ctx, expected);
      add_column_sums(ctx, View<const float, 2>(there.data(), {rows, dim}, {dim + 3, 1}),
                      sums.flat());
      add_column_sums_ref<float>(view, view1(expected));
      // the sum grows to rows / 2, and each of its last 64 additions rounds it to 24 bits
      EXPECT_LE(max_difference(sums.values(), expected), 1e-6 + static_cast<double>(rows) * 0x1p-19)
          << rows << " x " << dim;
    }
  }
}

TEST_ON_EVERY_BACKEND(Elementwise, SumOfSquaresEqualsReference) {
  for (const i64 n : {0, 1, 15, 16, 17, 31, 33, 64, 999, 40000}) {
    const auto x = random_values(n, 5);
    const double expected = sum_of_squares_ref<float>(view1(x));
    Buffer<float> there(ctx, x);
    EXPECT_NEAR(sum_of_squares(ctx, there.flat()), expected,
                1e-14 * expected * static_cast<double>(n));
  }
}

TEST_ON_EVERY_BACKEND(Elementwise, SquaredDistancesEqualReference) {
  std::vector<i64> dims(std::begin(kLengths), std::end(kLengths));
  dims.push_back(192);
  for (const i64 dim : dims) {
    const i64 rows = 37;
    const auto a = random_values(rows * dim, 6);
    const auto b = random_values(dim, 7);
    std::vector<float> expected(rows);
    squared_distances_ref<float>(View<const float, 2>(a.data(), {rows, dim}),
                                 View<const float, 2>(b.data(), {rows, dim}, {0, 1}), 0.5,
                                 view1(expected));
    Buffer<float> left(ctx, a), right(ctx, b), out(ctx, rows);
    const View<const float, 2> shared_row(right.data(), {rows, dim}, {0, 1});
    squared_distances(ctx, left.view<2>({rows, dim}), shared_row, 0.5f, out.flat());
    // terms of mean 2 * 0.5 and at most 63 additions per lane: far below dim * 2^-20
    EXPECT_LE(max_difference(out.values(), expected),
              static_cast<double>(dim) * 0x1p-20 * 1.0 + 1e-9)
        << "dim " << dim;
  }
}

TEST_ON_EVERY_BACKEND(Elementwise, SquaredDistancesOfBlocksShareARowEach) {
  const i64 blocks = 3, rows = 5, dim = 21;
  const auto a = random_values(blocks * rows * dim, 6), b = random_values(blocks * dim, 7);
  Buffer<float> left(ctx, a), right(ctx, b), out(ctx, blocks * rows);
  squared_distances(ctx, left.view<3>({blocks, rows, dim}),
                    View<const float, 3>(right.data(), {blocks, rows, dim}, {dim, 0, 1}), 0.5f,
                    out.view<2>({blocks, rows}));
  std::vector<float> expected(static_cast<std::size_t>(blocks * rows));
  for (i64 block = 0; block < blocks; ++block) {
    squared_distances_ref<float>(View<const float, 2>(a.data() + block * rows * dim, {rows, dim}),
                                 View<const float, 2>(b.data() + block * dim, {rows, dim}, {0, 1}),
                                 0.5, View<float, 1>(expected.data() + block * rows, {rows}));
  }
  EXPECT_LE(max_difference(out.values(), expected), static_cast<double>(dim) * 0x1p-20);
}

TEST(Elementwise, SameBitsForAnyThreads) {
  const auto x = random_values(3000 * 50, 8);
  expect_same_bits_for_any_threads([&](Context& ctx) {
    std::vector<float> sums(50);
    add_column_sums(ctx, View<const float, 2>(x.data(), {3000, 50}), view1(sums));
    sums.push_back(static_cast<float>(sum_of_squares(ctx, view1(x))));
    return sums;
  });
}

TEST(Elementwise, RefusesUnequalSizes) {
  Context ctx({.threads = 1});
  std::vector<float> three(3), four(4);
  EXPECT_THROW(add(ctx, view1(three), view1(three), view1(four)), Error);
  EXPECT_THROW(add_scaled(ctx, 1.0f, view1(three), view1(four)), Error);
  EXPECT_THROW(add_column_sums(ctx, View<const float, 2>(four.data(), {1, 4}), view1(three)),
               Error);
}

}  // namespace
}  // namespace orrery
