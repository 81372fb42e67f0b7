#pragma once

#include "base/bf16.h"
#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// out[b, t, h, :] = sum_s p[b, h, t, s] * v[b, s, h, :],  p = softmax_s(scale * <q[b, t, h, :],
// k[b, s, h, :]>)
//
//   q, out    [batch, queries, heads, dim]   any strides but the last dimension contiguous, so
//             slices of a joint q|k|v projection are fine; dim at most 128 on a CUDA device
//   k, v      [batch, keys, heads, dim]
//   log_sum   [batch, heads, queries], written when not empty: log of the softmax denominator, for
//             the backward
//   causal    query t sees keys s <= t + keys - queries
//
// tolerant: within 1e-5 of the reference for values of unit size, keys <= 4096
void attention(Context& ctx, View<const float, 4> q, View<const float, 4> k, View<const float, 4> v,
               float scale, bool causal, View<float, 4> out, View<float, 3> log_sum = {});

// The same on rows of bf16, on a CUDA device only. Products are exact and summed in float; weights
// are rounded to bf16 before they meet the values.
//
// tolerant: within 2^-7 times the largest |v| of the reference on the same rows
void attention(Context& ctx, View<const bf16, 4> q, View<const bf16, 4> k, View<const bf16, 4> v,
               float scale, bool causal, View<bf16, 4> out, View<float, 3> log_sum = {});

// Gradients of the above, stored (not added). out and log_sum as the forward pass wrote them.
// steady: one (batch, head) pair is one task
void attention_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                        View<const float, 4> v, float scale, bool causal, View<const float, 4> out,
                        View<const float, 3> log_sum, View<const float, 4> dout, View<float, 4> dq,
                        View<float, 4> dk, View<float, 4> dv);

// The same on rows of bf16, on a CUDA device only: softmax weights and their slopes enter products
// as bf16, too. log_sum contiguous.
//
// tolerant: within 2^-6 times the largest gradient of the reference on the same rows. steady
void attention_backward(Context& ctx, View<const bf16, 4> q, View<const bf16, 4> k,
                        View<const bf16, 4> v, float scale, bool causal, View<const bf16, 4> out,
                        View<const float, 3> log_sum, View<const bf16, 4> dout, View<bf16, 4> dq,
                        View<bf16, 4> dk, View<bf16, 4> dv);

}  // namespace orrery
