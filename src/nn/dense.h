#pragma once

#include <variant>

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

// Rows of floats, or rows that are kept as bf16.
using Rows = std::variant<View<const float, 2>, View<const bf16, 2>>;

// y = x W^T + bias (+ residual). Rows of bf16 are for products of bf16.
//
//   x   [rows, inputs], y [rows, outputs], residual [rows, outputs] or empty: last dimensions
//   contiguous, y is not x;
//       residual may be y
//
// tolerant and steady as gemm or multiply_bf16
void dense(Context& ctx, Precision precision, const Dense& layer, const Rows& x, View<float, 2> y,
           View<const float, 2> residual = {});
void dense(Context& ctx, Precision precision, const Dense& layer, const Rows& x, View<bf16, 2> y);

// dW += dy^T x;  dbias += sum_r dy;  dx = dy W, or dx += dy W when accumulate_dx; dx may be empty
void dense_backward(Context& ctx, Precision precision, const Dense& layer, const Dense& gradient,
                    const Rows& x, const Rows& dy, View<float, 2> dx, bool accumulate_dx = false);
void dense_backward(Context& ctx, Precision precision, const Dense& layer, const Dense& gradient,
                    const Rows& x, const Rows& dy, View<bf16, 2> dx);

}  // namespace orrery::nn
