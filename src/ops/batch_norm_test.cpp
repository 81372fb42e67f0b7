#include "ops/batch_norm.h"

#include <algorithm>

#include "base/text.h"
#include "ops/batch_norm_ref.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

// everything one layer needs, from fixed draws
template <typename T>
struct Layer {
  i64 rows, dim;
  std::vector<T> x, gain, bias, running_mean, running_var, y, mean, rstd, dy, dx, dgain, dbias;

  Layer(i64 rows_, i64 dim_)
      : rows(rows_),
        dim(dim_),
        x(random_values<T>(rows * dim, 1, 1.0f, 2.0f)),
        gain(random_values<T>(dim, 2, 0.2f, 1.0f)),
        bias(random_values<T>(dim, 3)),
        running_mean(random_values<T>(dim, 4)),
        running_var(random_values<T>(dim, 5, 0.1f, 1.0f)),
        y(x.size()),
        mean(gain.size()),
        rstd(gain.size()),
        dy(random_values<T>(rows * dim, 6)),
        dx(x.size()),
        dgain(random_values<T>(dim, 7)),
        dbias(random_values<T>(dim, 8)) {}

  View<T, 2> rows_of(std::vector<T>& values) { return View<T, 2>(values.data(), {rows, dim}); }

  void reference() {
    batch_norm_ref<T>(rows_of(x), view1(gain), view1(bias), 1e-5, 0.1, view1(running_mean),
                      view1(running_var), rows_of(y), view1(mean), view1(rstd));
    batch_norm_backward_ref<T>(rows_of(x), view1(gain), view1(mean), view1(rstd), rows_of(dy),
                               rows_of(dx), view1(dgain), view1(dbias));
  }
  void run(Context& ctx) {
    Buffer<T> there[] = {{ctx, x},     {ctx, gain},  {ctx, bias}, {ctx, running_mean},
                         {ctx, y},     {ctx, mean},  {ctx, rstd}, {ctx, running_var},
                         {ctx, dgain}, {ctx, dbias}, {ctx, dy}};
    auto& [x_, gain_, bias_, running_mean_, y_, mean_, rstd_, running_var_, dgain_, dbias_, dy_] =
        there;
    batch_norm(ctx, x_.rows(dim), gain_.flat(), bias_.flat(), 1e-5f, 0.1f, running_mean_.flat(),
               running_var_.flat(), y_.rows(dim), mean_.flat(), rstd_.flat());
    // in place, as a head does it
    batch_norm_backward(ctx, x_.rows(dim), gain_.flat(), mean_.flat(), rstd_.flat(), dy_.rows(dim),
                        dy_.rows(dim), dgain_.flat(), dbias_.flat());
    y = y_.values();
    mean = mean_.values();
    rstd = rstd_.values();
    running_mean = running_mean_.values();
    running_var = running_var_.values();
    dx = dy_.values();
    dgain = dgain_.values();
    dbias = dbias_.values();
  }
};

TEST_ON_EVERY_BACKEND(BatchNorm, EqualsReference) {
  for (const i64 rows : {2, 5, 63, 64, 65, 300}) {
    for (const i64 dim : {1, 15, 16, 17, 31, 33, 64, 200}) {
      Layer<float> layer(rows, dim);
      Layer<double> expected(rows, dim);
      layer.run(ctx);
      expected.reference();
      const auto where = text(rows, " rows of ", dim);
      // two rows may lie close together, and then divide by a small deviation: values grow with
      // rstd, up to 300
      const double size = *std::max_element(expected.rstd.begin(), expected.rstd.end());
      EXPECT_LE(max_difference(layer.y, expected.y), 4e-6 * size) << where;
      EXPECT_LE(max_difference(layer.mean, expected.mean), 1e-6) << where;
      EXPECT_LE(max_difference(layer.rstd, expected.rstd), 2e-6 * size * size) << where;
      EXPECT_LE(max_difference(layer.running_mean, expected.running_mean), 1e-6) << where;
      EXPECT_LE(max_difference(layer.running_var, expected.running_var), 2e-6) << where;
      EXPECT_LE(max_difference(layer.dx, expected.dx), 1e-5 * size * size) << where;
      EXPECT_LE(max_difference(layer.dgain, expected.dgain),
                1e-6 * static_cast<double>(rows) * size)
          << where;
      EXPECT_LE(max_difference(layer.dbias, expected.dbias),
                1e-7 * static_cast<double>(rows) + 1e-6)
          << where;
    }
  }
}

TEST_ON_EVERY_BACKEND(BatchNorm, ApplyEqualsReference) {
  for (const i64 rows : {1, 5, 65}) {
    for (const i64 dim : {1, 15, 16, 17, 31, 33, 64, 200, 1000}) {
      Layer<float> layer(rows, dim);
      Layer<double> expected(rows, dim);
      Buffer<float> x(ctx, layer.x), gain(ctx, layer.gain), bias(ctx, layer.bias),
          mean(ctx, layer.running_mean), var(ctx, layer.running_var), y(ctx, rows * dim);
      batch_norm_apply(ctx, x.rows(dim), gain.flat(), bias.flat(), mean.flat(), var.flat(), 1e-5f,
                       y.rows(dim));
      batch_norm_apply_ref<double>(expected.rows_of(expected.x), view1(expected.gain),
                                   view1(expected.bias), view1(expected.running_mean),
                                   view1(expected.running_var), 1e-5, expected.rows_of(expected.y));
      EXPECT_LE(max_difference(y.values(), expected.y), 2e-5) << rows << " rows of " << dim;
    }
  }
}

TEST(BatchNorm, ReferenceGradientIsTheDerivative) {
  Layer<double> layer(6, 3);
  for (auto* sums : {&layer.dgain, &layer.dbias}) std::fill(sums->begin(), sums->end(), 0.0);
  layer.reference();
  const auto dx = layer.dx, dgain = layer.dgain, dbias = layer.dbias;
  const auto loss = [&] {
    layer.reference();
    return weighted_sum(layer.y, layer.dy);
  };
  expect_gradient(layer.x, dx, loss);
  expect_gradient(layer.gain, dgain, loss);
  expect_gradient(layer.bias, dbias, loss);
}

TEST(BatchNorm, SameBitsForAnyThreads) {
  expect_same_bits_for_any_threads([&](Context& ctx) {
    Layer<float> layer(130, 333);
    layer.run(ctx);
    auto all = layer.dx;
    for (const auto* values : {&layer.y, &layer.dgain, &layer.dbias, &layer.running_var}) {
      all.insert(all.end(), values->begin(), values->end());
    }
    return all;
  });
}

TEST(BatchNorm, RefusesOneRowAndInPlace) {
  Context ctx({.threads = 1});
  Layer<float> one(1, 4);
  EXPECT_THROW(one.run(ctx), Error);
  Layer<float> layer(3, 4);
  EXPECT_THROW(batch_norm(ctx, layer.rows_of(layer.x), view1(layer.gain), view1(layer.bias), 1e-5f,
                          0.1f, view1(layer.running_mean), view1(layer.running_var),
                          layer.rows_of(layer.x), view1(layer.mean), view1(layer.rstd)),
               Error);
}

}  // namespace
}  // namespace orrery
