#include "ops/layer_norm.h"

#include "ops/layer_norm_ref.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

template <typename T>
View<T, 2> rows_of(std::vector<T>& values, i64 dim) {
  return View<T, 2>(values.data(), {static_cast<i64>(values.size()) / dim, dim});
}
template <typename T>
View<const T, 2> rows_of(const std::vector<T>& values, i64 dim) {
  return View<const T, 2>(values.data(), {static_cast<i64>(values.size()) / dim, dim});
}

// lengths around every vector width, then around what a warp holds in registers in CUDA's kernels
std::vector<i64> row_lengths() {
  std::vector<i64> lengths(std::begin(kLengths), std::end(kLengths));
  for (const i64 more : {192, 256, 260, 1024, 1028, 4096}) lengths.push_back(more);
  return lengths;
}

TEST_ON_EVERY_BACKEND(LayerNorm, EqualsReference) {
  for (const i64 dim : row_lengths()) {
    if (dim == 0) continue;
    for (const bool affine : {false, true}) {
      const i64 rows = 5;
      // a mean of 3 beside deviations of 1: the sum of squares must be taken from the mean
      const auto x = random_values(rows * dim, 1, 1.0f, 3.0f);
      const auto gain = random_values(affine ? dim : 0, 2, 0.2f, 1.0f);
      const auto bias = random_values(affine ? dim : 0, 3);
      std::vector<float> expected(x.size()), expected_mean(rows), expected_rstd(rows);
      layer_norm_ref<float>(rows_of(x, dim), affine ? view1(gain) : View<const float, 1>(),
                            affine ? view1(bias) : View<const float, 1>(), 1e-5f,
                            rows_of(expected, dim), view1(expected_mean), view1(expected_rstd));

      Buffer<float> x_there(ctx, x), gain_there(ctx, gain), bias_there(ctx, bias),
          y_there(ctx, rows * dim), mean_there(ctx, rows), rstd_there(ctx, rows);
      const auto gain_view = affine ? gain_there.flat() : View<float, 1>();
      const auto bias_view = affine ? bias_there.flat() : View<float, 1>();
      layer_norm(ctx, x_there.rows(dim), gain_view, bias_view, 1e-5f, y_there.rows(dim),
                 mean_there.flat(), rstd_there.flat());
      const auto y = y_there.values(), mean = mean_there.values(), rstd = rstd_there.values();
      EXPECT_LE(max_difference(y, expected), dim < 1000 ? 4e-6 : 1.2e-5) << "dim " << dim;
      // the sum grows to 3 * dim and is rounded at every step: measured 1.4e-6 with one lane and
      // 999 values, 3e-6 with 4096
      EXPECT_LE(max_difference(mean, expected_mean), dim < 2000 ? 4e-6 : 1e-5) << "dim " << dim;
      // a row of one value has deviation 0 and rstd 316; else values of about 1
      for (std::size_t r = 0; r < rstd.size(); ++r)
        EXPECT_NEAR(rstd[r] / expected_rstd[r], 1.0, 1e-6) << "dim " << dim;

      // in place
      layer_norm(ctx, x_there.rows(dim), gain_view, bias_view, 1e-5f, x_there.rows(dim));
      EXPECT_TRUE(same_bits(x_there.values(), y)) << "dim " << dim;
    }
  }
}

// rounded to bf16: the same values, rounded
TEST_ON_EVERY_BACKEND(LayerNorm, RoundsToBf16) {
  for (const i64 dim : row_lengths()) {
    if (dim == 0) continue;
    const i64 rows = 3;
    Buffer<float> x(ctx, random_values(rows * dim, 1, 1.0f, 3.0f)),
        gain(ctx, random_values(dim, 2, 0.2f, 1.0f)), bias(ctx, random_values(dim, 3)),
        y(ctx, rows * dim);
    Buffer<bf16> halves(ctx, std::vector<bf16>(static_cast<std::size_t>(rows * dim)));
    Buffer<float> mean(ctx, rows), rstd(ctx, rows), mean_too(ctx, rows), rstd_too(ctx, rows);
    layer_norm(ctx, x.rows(dim), gain.flat(), bias.flat(), 1e-5f, y.rows(dim), mean.flat(),
               rstd.flat());
    layer_norm(ctx, x.rows(dim), gain.flat(), bias.flat(), 1e-5f,
               View<bf16, 2>(halves.data(), {rows, dim}), mean_too.flat(), rstd_too.flat());
    std::vector<float> expected, got;
    for (const float value : y.values()) expected.push_back(bf16(value));
    for (const bf16 value : halves.values()) got.push_back(value);
    EXPECT_TRUE(same_bits(got, expected)) << "dim " << dim;
    EXPECT_TRUE(same_bits(mean_too.values(), mean.values())) << "dim " << dim;
    EXPECT_TRUE(same_bits(rstd_too.values(), rstd.values())) << "dim " << dim;
  }
}

TEST_ON_EVERY_BACKEND(LayerNorm, TakesRowsFromAnyPlace) {
  // rows that lie apart, and begin where no vector may be loaded whole
  for (const i64 dim : {192, 300, 1100}) {
    const i64 rows = 3, stride = dim + 5;
    const auto x = random_values(rows * stride + 1, 1);
    std::vector<float> packed;
    for (i64 r = 0; r < rows; ++r) {
      packed.insert(packed.end(), x.begin() + 1 + r * stride, x.begin() + 1 + r * stride + dim);
    }
    Buffer<float> apart(ctx, x), together(ctx, packed), y(ctx, rows * dim), z(ctx, rows * dim);
    layer_norm(ctx, View<float, 2>(apart.data() + 1, {rows, dim}, {stride, 1}), {}, {}, 1e-5f,
               y.rows(dim));
    layer_norm(ctx, together.rows(dim), {}, {}, 1e-5f, z.rows(dim));
    EXPECT_TRUE(same_bits(y.values(), z.values())) << "dim " << dim;
  }
}

void expect_backward_equals_reference(Context& ctx, i64 rows, i64 dim, bool accumulate) {
  const auto x = random_values(rows * dim, 1), dy = random_values(rows * dim, 2);
  const auto gain = random_values(dim, 3, 0.2f, 1.0f);
  std::vector<float> y(x.size()), mean(static_cast<std::size_t>(rows)), rstd(mean.size());
  layer_norm_ref<float>(rows_of(x, dim), {}, {}, 1e-5f, rows_of(y, dim), view1(mean), view1(rstd));

  auto dx = random_values(rows * dim, 4), dgain = random_values(dim, 5),
       dbias = random_values(dim, 6);
  Buffer<float> x_there(ctx, x), dy_there(ctx, dy), gain_there(ctx, gain), mean_there(ctx, mean),
      rstd_there(ctx, rstd), dx_there(ctx, dx), dgain_there(ctx, dgain), dbias_there(ctx, dbias);
  const auto backward = [&](Buffer<float>& slopes, Buffer<float>& result, View<float, 1> to_gain,
                            View<float, 1> to_bias) {
    layer_norm_backward(ctx, x_there.rows(dim), gain_there.flat(), mean_there.flat(),
                        rstd_there.flat(), slopes.rows(dim), accumulate, result.rows(dim), to_gain,
                        to_bias);
  };
  backward(dy_there, dx_there, dgain_there.flat(), dbias_there.flat());
  layer_norm_backward_ref<float>(rows_of(x, dim), view1(gain), view1(mean), view1(rstd),
                                 rows_of(dy, dim), accumulate, rows_of(dx, dim), view1(dgain),
                                 view1(dbias));
  // values of a few units, each a sum of terms rounded to 2^-24
  EXPECT_LE(max_difference(dx_there.values(), dx), 1e-5) << "dim " << dim;
  // terms of unit size
  const double bound = static_cast<double>(std::max<i64>(rows, 70)) * 0x1p-22;
  EXPECT_LE(max_difference(dgain_there.values(), dgain), bound) << "dim " << dim;
  EXPECT_LE(max_difference(dbias_there.values(), dbias), bound) << "dim " << dim;

  if (!accumulate) {  // dx may be dy; parameter gradients may be left out
    const auto apart = dx_there.values();
    backward(dy_there, dy_there, {}, {});
    EXPECT_TRUE(same_bits(dy_there.values(), apart)) << "dim " << dim;
  }
}

TEST_ON_EVERY_BACKEND(LayerNorm, BackwardEqualsReference) {
  for (const i64 dim : row_lengths()) {
    if (dim < 2) continue;
    for (const bool accumulate : {false, true}) {
      expect_backward_equals_reference(ctx, dim < 300 ? 70 : 5, dim, accumulate);
    }
  }
  // so many rows that one warp of a device has several, the last one fewer
  expect_backward_equals_reference(ctx, 4100, 33, false);
  expect_backward_equals_reference(ctx, 2100, 1028, true);
}

// parts of wider rows, of a plain norm
TEST_ON_EVERY_BACKEND(LayerNorm, BackwardTakesRowsFromAnyPlace) {
  for (const i64 dim : {20, 192, 1100}) {
    const i64 rows = 3, stride = dim + 5;
    const auto x = random_values(rows * dim, 1), dy = random_values(rows * dim, 2);
    const auto mean = random_values(rows, 3), rstd = random_values(rows, 4, 0.1f, 1.0f);
    std::vector<float> spread(static_cast<std::size_t>(rows * stride + 1));
    for (i64 i = 0; i < rows * dim; ++i) {
      spread[static_cast<std::size_t>(1 + i / dim * stride + i % dim)] =
          dy[static_cast<std::size_t>(i)];
    }
    Buffer<float> x_there(ctx, x), dy_there(ctx, dy), mean_there(ctx, mean), rstd_there(ctx, rstd),
        spread_there(ctx, spread), dx_there(ctx, rows * dim);
    layer_norm_backward(ctx, x_there.rows(dim), {}, mean_there.flat(), rstd_there.flat(),
                        dy_there.rows(dim), false, dx_there.rows(dim), {}, {});
    const View<float, 2> part(spread_there.data() + 1, {rows, dim}, {stride, 1});
    layer_norm_backward(ctx, x_there.rows(dim), {}, mean_there.flat(), rstd_there.flat(), part,
                        false, part, {}, {});
    const auto expected = dx_there.values(), got = spread_there.values();
    for (i64 i = 0; i < rows * dim; ++i) {
      EXPECT_EQ(got[static_cast<std::size_t>(1 + i / dim * stride + i % dim)],
                expected[static_cast<std::size_t>(i)]);
    }
    EXPECT_EQ(got[static_cast<std::size_t>(dim + 1)], 0.0f);
  }
}

TEST(LayerNorm, ReferenceGradientIsTheDerivative) {
  const i64 rows = 3, dim = 5;
  auto x = random_values<double>(rows * dim, 1), gain = random_values<double>(dim, 2, 0.3f, 1.0f),
       bias = random_values<double>(dim, 3);
  const auto dy = random_values<double>(rows * dim, 4);
  std::vector<double> y(x.size()), mean(rows), rstd(rows);
  const auto loss = [&] {
    layer_norm_ref<double>(rows_of(x, dim), view1(gain), view1(bias), 1e-3, rows_of(y, dim),
                           view1(mean), view1(rstd));
    return weighted_sum(y, dy);
  };
  loss();
  std::vector<double> dx(x.size()), dgain(dim), dbias(dim);
  layer_norm_backward_ref<double>(rows_of(x, dim), view1(gain), view1(mean), view1(rstd),
                                  rows_of(dy, dim), false, rows_of(dx, dim), view1(dgain),
                                  view1(dbias));
  expect_gradient(x, dx, loss);
  expect_gradient(gain, dgain, loss);
  expect_gradient(bias, dbias, loss);
}

TEST(LayerNorm, SameBitsForAnyThreads) {
  const i64 rows = 3000, dim = 33;
  const auto x = random_values(rows * dim, 1), dy = random_values(rows * dim, 2);
  expect_same_bits_for_any_threads([&](Context& ctx) {
    std::vector<float> y(x.size()), mean(rows), rstd(rows), dx(x.size()), sums(2 * dim);
    layer_norm(ctx, rows_of(x, dim), {}, {}, 1e-6f, rows_of(y, dim), view1(mean), view1(rstd));
    layer_norm_backward(ctx, rows_of(x, dim), {}, view1(mean), view1(rstd), rows_of(dy, dim), false,
                        rows_of(dx, dim), View<float, 1>(sums.data(), {dim}),
                        View<float, 1>(sums.data() + dim, {dim}));
    dx.insert(dx.end(), sums.begin(), sums.end());
    return dx;
  });
}

TEST(LayerNorm, RefusesWrongShapes) {
  Context ctx({.threads = 1});
  std::vector<float> x(12), gain(3);
  EXPECT_THROW(layer_norm(ctx, rows_of(x, 4), view1(gain), view1(gain), 1e-5f, rows_of(x, 4)),
               Error);
  EXPECT_THROW(layer_norm(ctx, rows_of(x, 4), {}, {}, 1e-5f, rows_of(x, 3)), Error);
}

}  // namespace
}  // namespace orrery
