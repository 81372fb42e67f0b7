#pragma once

#include "base/bf16.h"
#include "nn/dense.h"
#include "ops/dropout.h"
#include "tensor/arena.h"

namespace orrery::nn {

// A transformer's second half: y = dropout(down(dropout(gelu(up(norm(x))))))  (+ residual)
struct FeedForward {
  Norm norm;
  Dense up, down;
};

// What the backward pass needs; the caller's memory. What only products and activations read is
// kept as floats or as bf16.
struct FeedForwardState {
  View<float, 2> normed;                              // [rows, dim]
  View<float, 1> mean, rstd;                          // [rows]
  View<float, 2> wide;                                // [rows, mlp] before the activation
  View<float, 2> active;                              // [rows, mlp] after it
  View<bf16, 2> normed_bf16, wide_bf16, active_bf16;  // in place of the three
  Precision kept = Precision::f32;
};

// kept as bf16 the pass is one of mixed precision, without dropout inside
FeedForwardState take_feed_forward(Arena& arena, i64 rows, i64 dim, i64 mlp,
                                   Precision kept = Precision::f32);

// The two masks; the second needs a branch that is not added to a residual here.
struct FeedForwardDropout {
  Dropout wide, out;
};

//   x, y, residual   [rows, dim], last dimension contiguous; y is not x; the residual may be x or
//                    empty, and must be empty with dropout
void feed_forward(Context& ctx, Precision precision, const FeedForward& layer, float eps,
                  const FeedForwardDropout& drop, View<const float, 2> x, FeedForwardState& state,
                  View<const float, 2> residual, View<float, 2> y);

//   dy       [rows, dim]  with dropout contiguous and changed, else only read
//   dx       [rows, dim]  stored, or added to when accumulate_dx; may be dy, so that a residual
//                         branch needs no copy
//   dnormed  [rows, dim], dwide [rows, mlp] scratch, contiguous
void feed_forward_backward(Context& ctx, Precision precision, const FeedForward& layer,
                           const FeedForward& gradient, const FeedForwardDropout& drop,
                           View<const float, 2> x, const FeedForwardState& state, View<float, 2> dy,
                           bool accumulate_dx, View<float, 2> dx, View<float, 2> dnormed,
                           View<float, 2> dwide);

}  // namespace orrery::nn
