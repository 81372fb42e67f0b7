#pragma once

#include "ops/gemm.h"

namespace orrery::cuda {

// c [m, n] = residual + a^T b + bias, with sums over the rows of both factors: a weight's gradient.
//
//   a [k, m], b [k, n]   last dimensions contiguous
//   sums [m]             added to when not empty: what the columns of a add up to, in the same
//                        reading
//
// In f32, or with both factors rounded to bf16. steady: how rows are cut into slices depends on the
// sizes alone, and slices are added in order
void multiply_columns(Context& ctx, View<const float, 2> a, View<const float, 2> b,
                      const Epilogue& epilogue, View<float, 2> c, View<float, 1> sums = {});
template <typename A, typename B, typename Out>
void multiply_columns_bf16(Context& ctx, View<const A, 2> a, View<const B, 2> b,
                           const Epilogue& epilogue, View<Out, 2> c, View<float, 1> sums = {});

}  // namespace orrery::cuda
