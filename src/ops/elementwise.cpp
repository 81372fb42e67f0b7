#include "ops/elementwise.h"

namespace orrery {

namespace cpu {
void add(Context& ctx, View<const float, 1> a, View<const float, 1> b, View<float, 1> y);
void add_scaled(Context& ctx, float factor, View<const float, 1> x, View<float, 1> y);
void scale(Context& ctx, float factor, View<float, 1> x);
void add_column_sums(Context& ctx, View<const float, 2> x, View<float, 1> sums);
double sum_of_squares(Context& ctx, View<const float, 1> x);
void squared_distances(Context& ctx, View<const float, 3> a, View<const float, 3> b, float factor,
                       View<float, 2> out);
}  // namespace cpu
namespace cuda {
void add(Context& ctx, View<const float, 1> a, View<const float, 1> b, View<float, 1> y);
void add_scaled(Context& ctx, float factor, View<const float, 1> x, View<float, 1> y);
void scale(Context& ctx, float factor, View<float, 1> x);
void add_column_sums(Context& ctx, View<const float, 2> x, View<float, 1> sums);
double sum_of_squares(Context& ctx, View<const float, 1> x);
void squared_distances(Context& ctx, View<const float, 3> a, View<const float, 3> b, float factor,
                       View<float, 2> out);
}  // namespace cuda

void add(Context& ctx, View<const float, 1> a, View<const float, 1> b, View<float, 1> y) {
  check(a.size(0) == y.size(0) && b.size(0) == y.size(0), "add: a has ", a.size(0), " values, b ",
        b.size(0), ", y ", y.size(0), "; equal sizes were needed");
  check(a.contiguous() && b.contiguous() && y.contiguous(), "add: contiguous arrays were needed");
  ORRERY_ON_DEVICE(ctx, add, a, b, y);
}

void add_scaled(Context& ctx, float factor, View<const float, 1> x, View<float, 1> y) {
  check(x.size(0) == y.size(0), "add_scaled: x has ", x.size(0), " values, y ", y.size(0));
  check(x.contiguous() && y.contiguous(), "add_scaled: contiguous arrays were needed");
  ORRERY_ON_DEVICE(ctx, add_scaled, factor, x, y);
}

void scale(Context& ctx, float factor, View<float, 1> x) {
  check(x.contiguous(), "scale: a contiguous array was needed");
  ORRERY_ON_DEVICE(ctx, scale, factor, x);
}

void add_column_sums(Context& ctx, View<const float, 2> x, View<float, 1> sums) {
  check(sums.size(0) == x.size(1), "add_column_sums: sums has ", sums.size(0),
        " values, rows have ", x.size(1));
  check(x.stride(1) == 1 && sums.contiguous(), "add_column_sums: contiguous rows were needed");
  ORRERY_ON_DEVICE(ctx, add_column_sums, x, sums);
}

double sum_of_squares(Context& ctx, View<const float, 1> x) {
  check(x.contiguous(), "sum_of_squares: a contiguous array was needed");
  return ORRERY_ON_DEVICE(ctx, sum_of_squares, x);
}

void squared_distances(Context& ctx, View<const float, 2> a, View<const float, 2> b, float factor,
                       View<float, 1> out) {
  const auto as_block = [](View<const float, 2> rows) {
    return View<const float, 3>(rows.data(), {1, rows.size(0), rows.size(1)},
                                {0, rows.stride(0), rows.stride(1)});
  };
  check(out.contiguous(), "squared_distances: out must be contiguous");
  squared_distances(ctx, as_block(a), as_block(b), factor,
                    View<float, 2>(out.data(), {1, out.size(0)}));
}

void squared_distances(Context& ctx, View<const float, 3> a, View<const float, 3> b, float factor,
                       View<float, 2> out) {
  check(a.sizes() == b.sizes(), "squared_distances: a is ", a.shape(), ", b is ", b.shape());
  check(out.size(0) == a.size(0) && out.size(1) == a.size(1), "squared_distances: out is ",
        out.shape(), ", a is ", a.shape());
  check(a.stride(2) == 1 && b.stride(2) == 1, "squared_distances: contiguous rows were needed");
  check(out.contiguous(), "squared_distances: out must be contiguous");
  if (out.numel() == 0) return;
  ORRERY_ON_DEVICE(ctx, squared_distances, a, b, factor, out);
}

}  // namespace orrery
