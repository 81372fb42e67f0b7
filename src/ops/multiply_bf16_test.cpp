#include "ops/multiply_bf16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

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
// around tiles (14 rows, 32 columns), pairs and vectors of inputs (2, 32), blocks (1024 inputs, 56
// rows)
const Size kSizes[] = {{1, 1, 1},    {1, 33, 2},    {2, 15, 31},  {7, 17, 32},   {13, 32, 33},
                       {14, 31, 64}, {15, 33, 65},  {57, 64, 40}, {3, 16, 1023}, {15, 33, 1025},
                       {61, 70, 35}, {9, 17, 2100}, {70, 96, 3}};

TEST_ON_EVERY_PATH(MultiplyBf16, EqualsReferenceForAllLayouts) {
  for (const int threads : {1, 2}) {
    Context ctx({.threads = threads});
    for (const auto [m, n, k] : kSizes) {
      const Values a(m, k, 1), at(k, m, 2), b(k, n, 3), bt(n, k, 4);
      for (int layout = 0; layout < 4; ++layout) {
        for (int kind = 0; kind < 4; ++kind) {
          const auto take = [&](const Values& plain, const Values& turned, bool turn, bool halves) {
            const Values& values = turn ? turned : plain;
            const Factor factor = halves ? values.as_halves() : values.as_floats();
            return turn ? transposed(factor) : factor;
          };
          const Factor left = take(a, at, layout % 2 == 1, kind % 2 == 1);
          const Factor right = take(b, bt, layout / 2 == 1, kind / 2 == 1);
          Tensor c = Tensor::zeros<float>({m, n});
          multiply_bf16(ctx, left, right, {}, c.view<float, 2>());
          EXPECT_EQ(0, mistakes<float>(left, right, {}, {}, c.view<float, 2>()))
              << m << "x" << n << "x" << k << " layout " << layout << " kind " << kind;
        }
      }
    }
  }
}

TEST_ON_EVERY_PATH(MultiplyBf16, AddsBiasAndResidualAndRoundsLast) {
  Context ctx({.threads = 2});
  for (const i64 inner : {1, 40, 1500}) {
    const Values x(31, inner, 1), w(50, inner, 2), bias(1, 50, 3), residual(31, 50, 4);
    const Factor left = x.as_floats(), right = transposed(w.as_floats());
    const Epilogue epilogue{.bias = bias.floats.view<float, 2>()[0],
                            .residual = residual.floats.view<float, 2>()};
    const auto added = residual.floats.span<float>();
    const std::vector<float> before(added.begin(), added.end());

    Tensor c = residual.floats.clone();  // in place
    multiply_bf16(ctx, left, right, {.bias = epilogue.bias, .residual = c.view<float, 2>()},
                  c.view<float, 2>());
    EXPECT_EQ(0, mistakes<float>(left, right, epilogue, before, c.view<float, 2>()));

    std::vector<bf16> halves(31 * 50);
    const View<bf16, 2> rounded(halves.data(), {31, 50});
    multiply_bf16(ctx, left, right, epilogue, rounded);
    EXPECT_EQ(0, mistakes<bf16>(left, right, epilogue, before, rounded));
  }
}

// a column block and every other row: strides that are no layout of a whole matrix
TEST_ON_EVERY_PATH(MultiplyBf16, TakesPartsOfMatrices) {
  Context ctx({.threads = 2});
  const Values a(40, 90, 1), b(90, 80, 2);
  const View<const float, 2> whole = a.floats.view<float, 2>();
  const Factor left = View<const float, 2>(whole.data() + 5, {20, 61}, {2 * 90, 1});
  const Factor right = b.floats.view<float, 2>().slice(0, 7, 68).slice(1, 3, 40);
  const Factor spread = View<const float, 2>(whole.data(), {20, 30}, {180, 3});  // neither is 1
  Tensor c = Tensor::zeros<float>({20, 60});
  const View<float, 2> part = c.view<float, 2>().slice(1, 10, 47);
  multiply_bf16(ctx, left, right, {}, part);
  EXPECT_EQ(0, mistakes<float>(left, right, {}, {}, View<const float, 2>(part)));
  for (i64 r = 0; r < 20; ++r) {
    EXPECT_EQ(0.0f, (c.view<float, 2>()(r, 9)));
    EXPECT_EQ(0.0f, (c.view<float, 2>()(r, 47)));
  }
  const Factor narrow = b.floats.view<float, 2>().slice(0, 0, 30).slice(1, 0, 37);
  multiply_bf16(ctx, spread, narrow, {}, part);
  EXPECT_EQ(0, mistakes<float>(spread, narrow, {}, {}, View<const float, 2>(part)));
}

// every value is told once, after it was written
TEST_ON_EVERY_PATH(MultiplyBf16, TellsFinishedParts) {
  for (const int threads : {1, 3}) {
    Context ctx({.threads = threads});
    const Values a(60, 40, 1), b(40, 100, 2);
    std::vector<bf16> halves(60 * 100);
    std::vector<float> seen(halves.size(), NAN);
    const View<bf16, 2> c(halves.data(), {60, 100});
    multiply_bf16(ctx, a.as_floats(), b.as_floats(), {}, c,
                  [&](i64 row_begin, i64 row_end, i64 begin, i64 end) {
                    for (i64 i = row_begin; i < row_end; ++i) {
                      for (i64 j = begin; j < end; ++j) {
                        float& at = seen[static_cast<std::size_t>(i * 100 + j)];
                        at = std::isnan(at) ? static_cast<float>(c(i, j)) : INFINITY;
                      }
                    }
                  });
    for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<float>(halves[i]));
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
