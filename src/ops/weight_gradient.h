#pragma once

#include "device/context.h"
#include "ops/multiply_bf16.h"
#include "ops/precision.h"
#include "tensor/view.h"

namespace orrery {

// The gradients of a linear layer's parameters: dweight += dy^T x, dbias += sum_r dy[r, :]. A CUDA
// device reads dy once for both.
//
//   dy        [rows, outputs]    last dimensions contiguous
//   x         [rows, inputs]
//   dweight   [outputs, inputs]
//   dbias     [outputs], may be empty
//   precision f32, with factors of floats, or bf16, which rounds both factors of the product (and
//             nothing that dbias adds up)
//
// tolerant and steady as gemm or multiply_bf16, and add_column_sums
void add_weight_gradient(Context& ctx, Precision precision, const Factor& dy, const Factor& x,
                         View<float, 2> dweight, View<float, 1> dbias);

}  // namespace orrery
