#include "ops/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/random.h"
#include "ops/gemm_ref.h"
#include "ops/test_support.h"
#include "tensor/tensor.h"

namespace orrery {
namespace {

using test::Buffer;

Tensor random_matrix(i64 rows, i64 cols, u64 seed) {
  Tensor tensor = Tensor::zeros<float>({rows, cols});
  fill_normal(seed, 0, 0, rows * cols, tensor.data<float>());
  return tensor;
}

// the bound of the contract: 2 sqrt(k) 2^-24 * sum |a b|, the sum being about k * E|a b| = 0.64 k;
// the reference's own rounding and the epilogue add a few units in the last place of values that
// are of size sqrt(k)
double bound(i64 k) {
  const double n = static_cast<double>(k + 1);
  return 2 * std::sqrt(n) * 0x1p-24 * 0.64 * n + 8 * 0x1p-24 * std::sqrt(n) + 1e-6;
}

double max_difference(View<const float, 2> a, View<const float, 2> b) {
  double worst = 0;
  for (i64 i = 0; i < a.size(0); ++i) {
    for (i64 j = 0; j < a.size(1); ++j) {
      const double difference =
          std::abs(static_cast<double>(a(i, j)) - static_cast<double>(b(i, j)));
      if (!(difference <= worst)) worst = difference;  // NaN counts as worst
    }
  }
  return worst;
}

struct Size {
  i64 m, n, k;
};
// around tile edges (6, 14 rows; 8, 16, 32 columns), block edges (512 inputs, 56 rows), and the
// model's own shapes
const Size kSizes[] = {{1, 1, 1},     {1, 192, 192},   {2, 33, 5},    {3, 31, 16},    {5, 7, 3},
                       {13, 32, 17},  {14, 32, 32},    {15, 33, 31},  {29, 64, 511},  {57, 48, 513},
                       {70, 96, 384}, {257, 192, 192}, {6, 16, 1025}, {96, 288, 1537}};

// a matrix where a context works, and back
Buffer<float> placed(Context& ctx, const Tensor& matrix) { return {ctx, matrix}; }
Tensor read_back(const Buffer<float>& values, const Tensor& like) {
  Tensor result = like.clone();
  values.get(std::span<float>(result.data<float>(), static_cast<std::size_t>(result.numel())));
  return result;
}

void expect_all_layouts(Context& ctx, const Size& size) {
  const auto [m, n, k] = size;
  const Tensor a = random_matrix(m, k, 1), at = random_matrix(k, m, 2);
  const Tensor b = random_matrix(k, n, 3), bt = random_matrix(n, k, 4);
  auto a_there = placed(ctx, a), at_there = placed(ctx, at), b_there = placed(ctx, b),
       bt_there = placed(ctx, bt);
  for (int layout = 0; layout < 4; ++layout) {
    const bool a_transposed = layout % 2 == 1, b_transposed = layout / 2 == 1;
    const auto left = a_transposed ? at.view<float, 2>().transposed() : a.view<float, 2>();
    const auto right = b_transposed ? bt.view<float, 2>().transposed() : b.view<float, 2>();
    const auto left_there = a_transposed ? at_there.rows(m).transposed() : a_there.rows(k);
    const auto right_there = b_transposed ? bt_there.rows(k).transposed() : b_there.rows(n);
    for (const bool accumulate : {false, true}) {
      Tensor expected = random_matrix(m, n, 5);
      auto c = placed(ctx, expected);
      gemm(ctx, left_there, right_there, accumulate, c.rows(n));
      gemm_ref<float>(left, right, accumulate, expected.view<float, 2>());
      const Tensor result = read_back(c, expected);
      EXPECT_LT(max_difference(result.view<float, 2>(), expected.view<float, 2>()), bound(k))
          << m << "x" << n << "x" << k << " transposed " << a_transposed << b_transposed;
    }
  }
}

TEST_ON_EVERY_BACKEND(Gemm, EqualsReferenceForAllLayouts) {
  for (const Size& size : kSizes) expect_all_layouts(ctx, size);
}

TEST(Gemm, EqualsReferenceWithOneThread) {
  Context ctx({.threads = 1});
  for (const Size& size : kSizes) expect_all_layouts(ctx, size);
}

TEST_ON_EVERY_BACKEND(Gemm, AddsBiasAndResidualOnce) {
  for (const i64 inner : {1, 40, 700, 1100}) {  // one to three blocks of inputs
    const Tensor x = random_matrix(31, inner, 1), w = random_matrix(50, inner, 2);
    const Tensor bias = random_matrix(1, 50, 4), residual = random_matrix(31, 50, 3);
    auto bias_there = placed(ctx, bias), residual_there = placed(ctx, residual);
    Tensor expected = Tensor::zeros<float>({31, 50});
    linear_ref(x.view<float, 2>(), w.view<float, 2>(),
               {.bias = bias.view<float, 2>()[0], .residual = residual.view<float, 2>()},
               expected.view<float, 2>());
    const Epilogue epilogue{.bias = bias_there.flat(), .residual = residual_there.rows(50)};
    auto x_there = placed(ctx, x), w_there = placed(ctx, w), y = placed(ctx, residual);
    gemm(ctx, x_there.rows(inner), w_there.rows(inner).transposed(), epilogue, y.rows(50));
    EXPECT_LT(max_difference(read_back(y, expected).view<float, 2>(), expected.view<float, 2>()),
              bound(inner));

    // summed over the rows of both, the residual in place
    std::vector<float> turned(static_cast<std::size_t>(inner * 81));
    for (i64 k = 0; k < inner; ++k) {
      for (i64 i = 0; i < 31; ++i) {
        turned[static_cast<std::size_t>(k * 81 + i)] = x.view<float, 2>()(i, k);
      }
      for (i64 i = 0; i < 50; ++i) {
        turned[static_cast<std::size_t>(k * 81 + 31 + i)] = w.view<float, 2>()(i, k);
      }
    }
    Buffer<float> joint(ctx, turned);
    const View<float, 2> result = residual_there.rows(50);
    gemm(ctx, joint.rows(81).slice(1, 0, 31).transposed(), joint.rows(81).slice(1, 31, 81),
         {.bias = bias_there.flat(), .residual = result}, result);
    EXPECT_LT(max_difference(read_back(residual_there, expected).view<float, 2>(),
                             expected.view<float, 2>()),
              bound(inner));
  }
}

TEST(Gemm, IsSteadyForAnyNumberOfThreads) {
  const Tensor a = random_matrix(130, 1100, 1), b = random_matrix(1100, 75, 2);
  Tensor first = Tensor::zeros<float>({130, 75});
  for (const int threads : {1, 2, 3, 5}) {
    Context ctx({.threads = threads});
    Tensor c = Tensor::zeros<float>({130, 75});
    gemm(ctx, a.view<float, 2>(), b.view<float, 2>(), false, c.view<float, 2>());
    if (threads == 1) first = c.clone();
    EXPECT_EQ(0, std::memcmp(first.bytes(), c.bytes(), static_cast<std::size_t>(c.byte_count())));
  }
}

TEST(Gemm, NamesWhatDoesNotFit) {
  Context ctx({.threads = 1});
  const Tensor a = random_matrix(2, 3, 1), b = random_matrix(4, 5, 2);
  Tensor c = random_matrix(2, 5, 3);
  try {
    gemm(ctx, a.view<float, 2>(), b.view<float, 2>(), false, c.view<float, 2>());
    FAIL() << "sizes 3 and 4 were multiplied";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "gemm: a is (2, 3), b is (4, 5); inner sizes must agree");
  }
}

}  // namespace
}  // namespace orrery
