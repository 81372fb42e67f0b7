#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// Plain passes over contiguous arrays. steady, and exact where no sum is taken.

// y = a + b; y may be either
void add(Context& ctx, View<const float, 1> a, View<const float, 1> b, View<float, 1> y);

// y += factor * x
void add_scaled(Context& ctx, float factor, View<const float, 1> x, View<float, 1> y);

// x *= factor
void scale(Context& ctx, float factor, View<float, 1> x);

// sums[d] += sum_r x[r, d]: the gradient of a bias. x [rows, dim] last dimension contiguous
void add_column_sums(Context& ctx, View<const float, 2> x, View<float, 1> sums);

// sum_i x[i]^2, in double
double sum_of_squares(Context& ctx, View<const float, 1> x);

// out[r] = factor * sum_d (a[r, d] - b[r, d])^2; a stride of 0 in b shares one row. a, b [rows,
// dim]
void squared_distances(Context& ctx, View<const float, 2> a, View<const float, 2> b, float factor,
                       View<float, 1> out);
// the same over blocks of rows: a, b [blocks, rows, dim], out [blocks, rows] contiguous
void squared_distances(Context& ctx, View<const float, 3> a, View<const float, 3> b, float factor,
                       View<float, 2> out);

}  // namespace orrery
