#pragma once

#include "base/bf16.h"
#include "device/context.h"
#include "nn/layers.h"
#include "ops/precision.h"
#include "tensor/view.h"

namespace orrery::nn {

// Weights as training reads them, gradients as it fills them: always added to what is there.
//
// `precision` is that of the products: f32, or bf16 (ops/multiply_bf16.h), which rounds both
// factors of every product and nothing else. There is training in no other.

// y = x W^T + bias (+ residual). Rows that are kept as bf16 are for products of bf16.
//
//   x   [rows, inputs], y [rows, outputs], residual [rows, outputs] or empty: last dimensions
//   contiguous, y is not x;
//       residual may be y
//
// tolerant and steady as gemm or multiply_bf16
void dense(Context& ctx, Precision precision, const Dense& layer, View<const float, 2> x,
           View<float, 2> y, View<const float, 2> residual = {});
void dense(Context& ctx, Precision precision, const Dense& layer, View<const float, 2> x,
           View<bf16, 2> y);
void dense(Context& ctx, Precision precision, const Dense& layer, View<const bf16, 2> x,
           View<float, 2> y, View<const float, 2> residual = {});

// dW += dy^T x;  dbias += sum_r dy;  dx = dy W, or dx += dy W when accumulate_dx; dx may be empty
void dense_backward(Context& ctx, Precision precision, const Dense& layer, const Dense& gradient,
                    View<const float, 2> x, View<const float, 2> dy, View<float, 2> dx,
                    bool accumulate_dx = false);

// The same where slopes, or x and dx, are kept as bf16.
void dense_backward(Context& ctx, Precision precision, const Dense& layer, const Dense& gradient,
                    View<const float, 2> x, View<const bf16, 2> dy, View<float, 2> dx,
                    bool accumulate_dx = false);
void dense_backward(Context& ctx, Precision precision, const Dense& layer, const Dense& gradient,
                    View<const bf16, 2> x, View<const float, 2> dy, View<bf16, 2> dx);

}  // namespace orrery::nn
