#include "ops/multiply_bf16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "ops/activation_bf16.h"
#include "ops/gemm_ref.h"
#include "ops/test_support.h"
#include "tensor/tensor.h"

namespace orrery {
namespace {

// values [rows, cols] as floats and as bf16
struct Values {
  Tensor floats;
  std::vector<bf16> halves;

  Values(i64 rows, i64 cols, u64 seed) : floats(Tensor::zeros<float>({rows, cols})) {
    fill_normal(seed, 0, 0, rows * cols, floats.data<float>());
    for (const float value : floats.span<float>()) halves.push_back(bf16(value));
  }
  Factor as_floats() const { return floats.view<float, 2>(); }
  Factor as_halves() const {
    return View<const bf16, 2>(halves.data(), floats.view<float, 2>().sizes());
  }
};

double element(const Factor& factor, i64 i, i64 j) {
  return std::visit(
      [&](const auto& view) { return static_cast<double>(static_cast<float>(bf16(view(i, j)))); },
      factor);
}

// The plain loop on rounded factors, in double. Returns how often the result is outside of the
// contract's bound; one rounding to bf16 adds half of its last place.
template <typename T>
i64 mistakes(const Factor& a, const Factor& b, const Epilogue& epilogue,
             const std::vector<float>& residual, View<const T, 2> c) {
  i64 count = 0;
  const i64 k = size_of(a, 1);
  for (i64 i = 0; i < c.size(0); ++i) {
    for (i64 j = 0; j < c.size(1); ++j) {
      double sum = 0, size = 0;
      for (i64 p = 0; p < k; ++p) {
        const double product = element(a, i, p) * element(b, p, j);
        sum += product;
        size += std::abs(product);
      }
      if (epilogue.bias) sum += static_cast<double>(epilogue.bias(j));
      if (!residual.empty())
        sum += static_cast<double>(residual[static_cast<std::size_t>(i * c.size(1) + j)]);
      double bound =
          2 * static_cast<double>(k) * 0x1p-24 * size + 4 * 0x1p-24 * (std::abs(sum) + size + 8);
      if (std::is_same_v<T, bf16>) bound += std::abs(sum) * 0x1p-8;
      const double error = std::abs(static_cast<double>(static_cast<float>(c(i, j))) - sum);
      if (!(error <= bound)) ++count;  // NaN counts
    }
  }
  return count;
}

struct Size {
  i64 m, n, k;
};
// around tiles (14 rows, 32 columns), pairs and vectors of inputs (2, 32), short sums (1024
// inputs), blocks of them (56 rows) and of long ones (196 rows, 384 columns, 256 inputs)
const Size kSizes[] = {{1, 1, 1},    {1, 33, 2},    {2, 15, 31},  {7, 17, 32},     {13, 32, 33},
                       {14, 31, 64}, {15, 33, 65},  {57, 64, 40}, {3, 16, 1023},   {15, 33, 1025},
                       {61, 70, 35}, {9, 17, 2100}, {70, 96, 3},  {200, 33, 1030}, {15, 390, 1281}};

// the same values where a context works
struct Placed2 {
  test::Buffer<float> floats;
  test::Buffer<bf16> halves;
  i64 rows, cols;

  Placed2(Context& ctx, const Values& from)
      : floats(ctx, from.floats),
        halves(ctx, from.halves),
        rows(from.floats.view<float, 2>().size(0)),
        cols(from.floats.view<float, 2>().size(1)) {}
  Factor take(bool as_halves) {
    if (as_halves) return View<const bf16, 2>(halves.data(), {rows, cols});
    return View<const float, 2>(floats.data(), {rows, cols});
  }
};

void expect_all_layouts(Context& ctx, const Size& size) {
  const auto [m, n, k] = size;
  const Values a(m, k, 1), at(k, m, 2), b(k, n, 3), bt(n, k, 4);
  Placed2 a_there(ctx, a), at_there(ctx, at), b_there(ctx, b), bt_there(ctx, bt);
  for (int layout = 0; layout < 4; ++layout) {
    for (int kind = 0; kind < 4; ++kind) {
      const auto turned = [](const Factor& factor, bool turn) {
        return turn ? transposed(factor) : factor;
      };
      const bool turn_a = layout % 2 == 1, turn_b = layout / 2 == 1;
      const bool a_halves = kind % 2 == 1, b_halves = kind / 2 == 1;
      const Factor left = turned((turn_a ? at_there : a_there).take(a_halves), turn_a);
      const Factor right = turned((turn_b ? bt_there : b_there).take(b_halves), turn_b);
      test::Buffer<float> c(ctx, m * n);
      multiply_bf16(ctx, left, right, {}, c.rows(n));
      const auto result = c.values();
      // rounded once or twice, a factor is the same
      EXPECT_EQ(0, mistakes<float>(turned((turn_a ? at : a).as_halves(), turn_a),
                                   turned((turn_b ? bt : b).as_halves(), turn_b), {}, {},
                                   View<const float, 2>(result.data(), {m, n})))
          << m << "x" << n << "x" << k << " layout " << layout << " kind " << kind;
    }
  }
}

TEST_ON_EVERY_BACKEND(MultiplyBf16, EqualsReferenceForAllLayouts) {
  for (const Size& size : kSizes) expect_all_layouts(ctx, size);
}

// more columns than one block has, rows in several slices
TEST(CudaMultiplyBf16, SumsOverRowsOfWideFactors) {
  ORRERY_NEEDS_CUDA;
  Context ctx(test::on_cuda());
  const i64 m = 200, n = 390, k = 700;
  const Values at(k, m, 1), b(k, n, 2);
  Placed2 at_there(ctx, at), b_there(ctx, b);
  test::Buffer<float> c(ctx, m * n);
  multiply_bf16(ctx, transposed(at_there.take(true)), b_there.take(false), {}, c.rows(n));
  const auto result = c.values();
  EXPECT_EQ(0, mistakes<float>(transposed(at.as_halves()), b.as_halves(), {}, {},
                               View<const float, 2>(result.data(), {m, n})));
}

TEST_ON_EVERY_PATH(MultiplyBf16, EqualsReferenceWithOneThread) {
  Context ctx({.threads = 1});
  for (const Size& size : kSizes) expect_all_layouts(ctx, size);
}

TEST_ON_EVERY_BACKEND(MultiplyBf16, AddsBiasAndResidualAndRoundsLast) {
  for (const i64 inner : {1, 40, 1500}) {
    const Values x(31, inner, 1), w(50, inner, 2), bias(1, 50, 3), residual(31, 50, 4);
    Placed2 x_there(ctx, x), w_there(ctx, w), bias_there(ctx, bias), c(ctx, residual);
    const Factor left = x.as_floats(), right = transposed(w.as_floats());
    const Epilogue epilogue{.bias = bias.floats.view<float, 2>()[0]};
    const auto added = residual.floats.span<float>();
    const std::vector<float> before(added.begin(), added.end());

    const Epilogue there{.bias = bias_there.floats.flat(), .residual = c.floats.rows(50)};
    multiply_bf16(ctx, x_there.take(false), transposed(w_there.take(false)), there,
                  c.halves.rows(50));
    const auto halves = c.halves.values();
    EXPECT_EQ(0, mistakes<bf16>(left, right, epilogue, before,
                                View<const bf16, 2>(halves.data(), {31, 50})));
    multiply_bf16(ctx, x_there.take(false), transposed(w_there.take(false)), there,
                  c.floats.rows(50));  // in place
    const auto floats = c.floats.values();
    EXPECT_EQ(0, mistakes<float>(left, right, epilogue, before,
                                 View<const float, 2>(floats.data(), {31, 50})));
  }
}

// a column block and every other row: strides that are no layout of a whole matrix
TEST_ON_EVERY_BACKEND(MultiplyBf16, TakesPartsOfMatrices) {
  const Values a(40, 90, 1), b(90, 80, 2);
  Placed2 a_there(ctx, a), b_there(ctx, b);
  const auto left = [](View<const float, 2> whole) {
    return View<const float, 2>(whole.data() + 5, {20, 61}, {2 * 90, 1});
  };
  const auto spread = [](View<const float, 2> whole) {  // neither is 1
    return View<const float, 2>(whole.data(), {20, 30}, {180, 3});
  };
  const auto right = [](View<const float, 2> whole) {
    return whole.slice(0, 7, 68).slice(1, 3, 40);
  };
  const auto narrow = [](View<const float, 2> whole) {
    return whole.slice(0, 0, 30).slice(1, 0, 37);
  };
  const View<const float, 2> a_here = a.floats.view<float, 2>(), b_here = b.floats.view<float, 2>();
  const auto a_view = [&] { return a_there.floats.rows(90); };
  const auto b_view = [&] { return b_there.floats.rows(80); };
  test::Buffer<float> c(ctx, 20 * 60);
  const auto expect = [&](const Factor& x, const Factor& y) {
    const auto values = c.values();
    const View<const float, 2> whole(values.data(), {20, 60});
    EXPECT_EQ(0, mistakes<float>(x, y, {}, {}, whole.slice(1, 10, 47)));
    for (i64 r = 0; r < 20; ++r) {
      EXPECT_EQ(0.0f, whole(r, 9));
      EXPECT_EQ(0.0f, whole(r, 47));
    }
  };
  multiply_bf16(ctx, left(a_view()), right(b_view()), {}, c.rows(60).slice(1, 10, 47));
  expect(left(a_here), right(b_here));
  multiply_bf16(ctx, spread(a_view()), narrow(b_view()), {}, c.rows(60).slice(1, 10, 47));
  expect(spread(a_here), narrow(b_here));
}

// against the steps one after another
TEST_ON_EVERY_BACKEND(MultiplyBf16, GoesThroughActivationsBothWays) {
  constexpr i64 kRows = 61;
  for (const i64 width : {100, 37}) {
    for (const Activation activation : {Activation::gelu, Activation::silu}) {
      Placed2 x(ctx, Values(kRows, 40, 1)), w(ctx, Values(width, 40, 2)),
          bias(ctx, Values(1, width, 3));
      test::Buffer<bf16> wide(ctx, kRows * width), active(ctx, kRows * width);
      test::Buffer<bf16> plain_wide(ctx, kRows * width), plain_active(ctx, kRows * width);
      const Factor right = transposed(w.take(false));
      multiply_activate_bf16(ctx, x.take(false), right, bias.floats.flat(), activation,
                             wide.rows(width), active.rows(width));
      multiply_bf16(ctx, x.take(false), right, {.bias = bias.floats.flat()},
                    plain_wide.rows(width));
      activate_bf16(ctx, activation, plain_wide.flat(), plain_active.flat());
      EXPECT_TRUE(test::same_bits(wide.values(), plain_wide.values()));
      const auto y = active.values(), plain_y = plain_active.values();
      for (std::size_t i = 0; i < y.size(); ++i) {
        // a last bit of bf16 where the two forms of an activation round apart
        ASSERT_NEAR(static_cast<float>(y[i]), static_cast<float>(plain_y[i]),
                    0x1p-7f * std::abs(static_cast<float>(plain_y[i])) + 1e-6f);
      }

      Placed2 dy(ctx, Values(kRows, 40, 4)), back(ctx, Values(40, width, 5));
      test::Buffer<bf16> slopes(ctx, kRows * width), plain(ctx, kRows * width);
      multiply_slopes_bf16(ctx, dy.take(false), back.take(false), activation, wide.rows(width),
                           slopes.rows(width));
      multiply_bf16(ctx, dy.take(false), back.take(false), {}, plain.rows(width));
      activate_bf16_backward(ctx, activation, wide.flat(), plain.flat(), plain.flat());
      const auto dx = slopes.values(), plain_dx = plain.values();
      for (std::size_t i = 0; i < dx.size(); ++i) {
        // rounded once or twice
        ASSERT_NEAR(static_cast<float>(dx[i]), static_cast<float>(plain_dx[i]),
                    0x1p-7f * std::abs(static_cast<float>(plain_dx[i])) + 4e-6f);
      }
    }
  }
}

TEST_ON_EVERY_PATH(MultiplyBf16, IsSteadyForAnyNumberOfThreads) {
  const Values a(130, 2100, 1), b(2100, 75, 2);
  Tensor first = Tensor::zeros<float>({130, 75});
  for (const int threads : {1, 2, 3, 5}) {
    Context ctx({.threads = threads});
    Tensor c = Tensor::zeros<float>({130, 75});
    multiply_bf16(ctx, a.as_floats(), b.as_floats(), {}, c.view<float, 2>());
    if (threads == 1) first = c.clone();
    EXPECT_EQ(0, std::memcmp(first.bytes(), c.bytes(), static_cast<std::size_t>(c.byte_count())));
    multiply_bf16(ctx, a.as_halves(), b.as_halves(), {}, c.view<float, 2>());
    EXPECT_EQ(0, std::memcmp(first.bytes(), c.bytes(), static_cast<std::size_t>(c.byte_count())))
        << "values kept as bf16";
  }
}

TEST(MultiplyBf16, RunsWhatItNames) {
  use_cpu_path(nullptr);
  const std::string path = multiply_bf16_path();
  EXPECT_TRUE(path == "f32" || cpu_facts().features.find("avx512bf16") != std::string::npos)
      << path;
  use_cpu_path(cpu_paths().back());
  if (cpu_paths().size() > 1) {
    EXPECT_STREQ("f32", multiply_bf16_path());
  }
  use_cpu_path(nullptr);
}

TEST(MultiplyBf16, NamesWhatDoesNotFit) {
  Context ctx({.threads = 1});
  const Values a(2, 3, 1), b(4, 5, 2);
  Tensor c = Tensor::zeros<float>({2, 5});
  try {
    multiply_bf16(ctx, a.as_floats(), b.as_floats(), {}, c.view<float, 2>());
    FAIL() << "sizes 3 and 4 were multiplied";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "multiply_bf16: a has 3 columns, b 4 rows; inner sizes must agree");
  }
}

}  // namespace
}  // namespace orrery
