#include "ops/weight_gradient.h"

#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

// around a device's tiles (64, 192 columns), its stages (16, 32 rows) and its slices (256 rows)
struct Case {
  i64 rows, outputs, inputs;
};
constexpr Case kCases[] = {{1, 1, 1},    {5, 3, 7},     {33, 65, 64},   {257, 40, 31},
                           {600, 8, 12}, {70, 193, 36}, {48, 100, 200}, {1030, 36, 10}};

template <typename T>
std::vector<T> drawn(i64 count, u64 seed) {
  std::vector<T> values;
  for (const float value : random_values(count, seed)) values.push_back(T(value));
  return values;
}

// rows of dy are parts of wider ones, as those of q, k and v are
template <typename Dy, typename X>
void expect_gradients(Context& ctx, Precision precision, const Case& c) {
  const i64 stride = c.outputs + (c.outputs % 4 == 0 ? 4 : 3);
  const auto dy = drawn<Dy>(c.rows * stride, 1);
  const auto x = drawn<X>(c.rows * c.inputs, 2);
  const auto start = random_values(c.outputs * c.inputs + c.outputs, 3);
  Buffer<Dy> dy_there(ctx, dy);
  Buffer<X> x_there(ctx, x);
  Buffer<float> gradient(ctx, start), without(ctx, start);
  const View<const Dy, 2> slopes(dy_there.data(), {c.rows, c.outputs}, {stride, 1});
  const View<const X, 2> rows(x_there.data(), {c.rows, c.inputs});
  const auto weight = [&](Buffer<float>& to) {
    return View<float, 2>(to.data(), {c.outputs, c.inputs});
  };
  const View<float, 1> bias(gradient.data() + c.outputs * c.inputs, {c.outputs});
  add_weight_gradient(ctx, precision, slopes, rows, weight(gradient), bias);
  add_weight_gradient(ctx, precision, slopes, rows, weight(without), {});

  const auto got = gradient.values(), plain = without.values();
  const auto factor = [&](float value) {
    return static_cast<double>(precision == Precision::bf16 ? static_cast<float>(bf16(value))
                                                            : value);
  };
  // sums of products of unit size, rounded at every addition
  const double bound = static_cast<double>(c.rows + 8) * 0x1p-22;
  for (i64 o = 0; o < c.outputs; ++o) {
    double by_bias = static_cast<double>(start[static_cast<std::size_t>(c.outputs * c.inputs + o)]);
    for (i64 r = 0; r < c.rows; ++r) {
      by_bias +=
          static_cast<double>(static_cast<float>(dy[static_cast<std::size_t>(r * stride + o)]));
    }
    EXPECT_NEAR(static_cast<double>(got[static_cast<std::size_t>(c.outputs * c.inputs + o)]),
                by_bias, bound)
        << o;
    for (i64 i = 0; i < c.inputs; ++i) {
      const auto at = static_cast<std::size_t>(o * c.inputs + i);
      double sum = static_cast<double>(start[at]);
      for (i64 r = 0; r < c.rows; ++r) {
        sum += factor(dy[static_cast<std::size_t>(r * stride + o)]) *
               factor(x[static_cast<std::size_t>(r * c.inputs + i)]);
      }
      ASSERT_NEAR(static_cast<double>(got[at]), sum, bound) << o << ", " << i;
      ASSERT_EQ(got[at], plain[at]);
    }
  }
  EXPECT_EQ(plain.back(), start.back()) << "a bias was made that nobody asked for";
}

TEST_ON_EVERY_BACKEND(WeightGradient, EqualsPlainSums) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.rows);
    SCOPED_TRACE(c.outputs);
    expect_gradients<float, float>(ctx, Precision::f32, c);
    expect_gradients<float, float>(ctx, Precision::bf16, c);
    expect_gradients<bf16, float>(ctx, Precision::bf16, c);
    expect_gradients<float, bf16>(ctx, Precision::bf16, c);
    expect_gradients<bf16, bf16>(ctx, Precision::bf16, c);
  }
}

TEST(WeightGradient, NamesWhatDoesNotFit) {
  Context ctx({.threads = 1});
  std::vector<float> values(64);
  const View<float, 2> four(values.data(), {4, 4}), three(values.data(), {3, 4});
  EXPECT_THROW(add_weight_gradient(ctx, Precision::f32, four, three, four, {}), Error);
  EXPECT_THROW(add_weight_gradient(ctx, Precision::int8, four, four, four, {}), Error);
  EXPECT_THROW(add_weight_gradient(ctx, Precision::f32, four, four, three, {}), Error);
  EXPECT_THROW(add_weight_gradient(ctx, Precision::f32, four, four.transposed(), four, {}), Error);
}

}  // namespace
}  // namespace orrery
