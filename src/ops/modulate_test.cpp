#include "ops/modulate.h"

#include "ops/modulate_ref.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

constexpr i64 kBatch = 3;
constexpr i64 kTokens = 2;

template <typename T>
View<T, 3> whole(std::vector<T>& values, i64 dim) {
  return View<T, 3>(values.data(), {kBatch, kTokens, dim});
}
template <typename T>
View<const T, 3> whole(const std::vector<T>& values, i64 dim) {
  return View<const T, 3>(values.data(), {kBatch, kTokens, dim});
}
// part `index` of rows of six parts, one row per token, shared by the batch
View<const float, 3> shared_part(const std::vector<float>& values, i64 index, i64 dim) {
  return View<const float, 3>(values.data() + index * dim, {kBatch, kTokens, dim}, {0, 6 * dim, 1});
}

TEST_ON_EVERY_BACKEND(Modulate, ForwardEqualsReference) {
  std::vector<i64> dims(std::begin(kLengths), std::end(kLengths));
  dims.push_back(192);
  for (const i64 dim : dims) {
    const auto x = random_values(kBatch * kTokens * dim, 1),
               branch = random_values(kBatch * kTokens * dim, 2);
    const auto rows = random_values(kTokens * 6 * dim, 3);
    std::vector<float> expected(x.size());
    modulate_ref<float>(whole(x, dim), shared_part(rows, 0, dim), shared_part(rows, 1, dim),
                        whole(expected, dim));
    Buffer<float> x_there(ctx, x), branch_there(ctx, branch), rows_there(ctx, rows),
        y_there(ctx, kBatch * kTokens * dim);
    const View<float, 3>::Sizes sizes = {kBatch, kTokens, dim};
    const auto part = [&](i64 index) {
      return View<const float, 3>(rows_there.data() + index * dim, sizes, {0, 6 * dim, 1});
    };
    modulate(ctx, x_there.view<3>(sizes), part(0), part(1), y_there.view<3>(sizes));
    // one fused rounding or three plain ones of values up to 20
    EXPECT_LE(max_difference(y_there.values(), expected), 4e-6) << "dim " << dim;

    // in place
    gated_add(ctx, x_there.view<3>(sizes), part(2), branch_there.view<3>(sizes),
              x_there.view<3>(sizes));
    gated_add_ref<float>(whole(x, dim), shared_part(rows, 2, dim), whole(branch, dim),
                         whole(expected, dim));
    EXPECT_LE(max_difference(x_there.values(), expected), 4e-6) << "dim " << dim;
  }
}

TEST_ON_EVERY_BACKEND(Modulate, BackwardEqualsReferenceExactly) {
  std::vector<i64> dims(std::begin(kLengths), std::end(kLengths));
  dims.push_back(192);
  for (const i64 dim : dims) {
    const i64 count = kBatch * kTokens * dim;
    const View<float, 3>::Sizes sizes = {kBatch, kTokens, dim};
    const auto x = random_values(count, 1), scale = random_values(count, 2),
               dy = random_values(count, 3);
    std::vector<float> expected_a(x.size()), expected_b(x.size()), expected_c(x.size());
    Buffer<float> x_there(ctx, x), scale_there(ctx, scale), dy_there(ctx, dy), a(ctx, dy),
        b(ctx, count), c(ctx, count);
    // dx may be dy
    modulate_backward(ctx, x_there.view<3>(sizes), scale_there.view<3>(sizes), a.view<3>(sizes),
                      a.view<3>(sizes), b.view<3>(sizes), c.view<3>(sizes));
    modulate_backward_ref<float>(whole(x, dim), whole(scale, dim), whole(dy, dim),
                                 whole(expected_a, dim), whole(expected_b, dim),
                                 whole(expected_c, dim));
    EXPECT_TRUE(same_bits(a.values(), expected_a) && same_bits(b.values(), expected_b) &&
                same_bits(c.values(), expected_c))
        << "dim " << dim;

    gated_add_backward(ctx, x_there.view<3>(sizes), scale_there.view<3>(sizes),
                       dy_there.view<3>(sizes), a.view<3>(sizes), b.view<3>(sizes));
    gated_add_backward_ref<float>(whole(x, dim), whole(scale, dim), whole(dy, dim),
                                  whole(expected_a, dim), whole(expected_b, dim));
    EXPECT_TRUE(same_bits(a.values(), expected_a) && same_bits(b.values(), expected_b))
        << "dim " << dim;
  }
}

TEST(Modulate, ReferenceGradientIsTheDerivative) {
  const i64 dim = 3, count = kBatch * kTokens * dim;
  auto x = random_values<double>(count, 1), shift = random_values<double>(count, 2),
       scale = random_values<double>(count, 3);
  const auto dy = random_values<double>(count, 4);
  std::vector<double> y(x.size()), dx(x.size()), dshift(x.size()), dscale(x.size());
  const auto modulated = [&] {
    modulate_ref<double>(whole(x, dim), whole(shift, dim), whole(scale, dim), whole(y, dim));
    return weighted_sum(y, dy);
  };
  modulate_backward_ref<double>(whole(x, dim), whole(scale, dim), whole(dy, dim), whole(dx, dim),
                                whole(dshift, dim), whole(dscale, dim));
  expect_gradient(x, dx, modulated);
  expect_gradient(shift, dshift, modulated);
  expect_gradient(scale, dscale, modulated);

  const auto gated = [&] {
    gated_add_ref<double>(whole(x, dim), whole(shift, dim), whole(scale, dim), whole(y, dim));
    return weighted_sum(y, dy);
  };
  gated_add_backward_ref<double>(whole(shift, dim), whole(scale, dim), whole(dy, dim),
                                 whole(dshift, dim), whole(dscale, dim));
  expect_gradient(shift, dshift, gated);
  expect_gradient(scale, dscale, gated);
  expect_gradient(x, dy, gated);
}

TEST(Modulate, RefusesWrongShapes) {
  Context ctx({.threads = 1});
  std::vector<float> x(kBatch * kTokens * 4);
  EXPECT_THROW(modulate(ctx, whole(x, 4), whole(x, 3), whole(x, 4), whole(x, 4)), Error);
  EXPECT_THROW(gated_add(ctx, whole(x, 4), whole(x, 4), whole(x, 4), whole(x, 2)), Error);
}

}  // namespace
}  // namespace orrery
