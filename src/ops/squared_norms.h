#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// out[r] = out[r] + factor * sum_d x[r, d]^2
//
//   x     [rows, dim], contiguous
//   out   [rows], contiguous
//
// What actions cost. The sum is taken in double and rounded once with the rest: steady; equal on
// CPU and CUDA but for rare last bits
void add_squared_norms(Context& ctx, View<const float, 2> x, float factor, View<float, 1> out);

}  // namespace orrery
