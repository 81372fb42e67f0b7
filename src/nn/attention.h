#pragma once

#include "ops/attention.h"
#include "ops/attention_bf16.h"
#include "ops/precision.h"

namespace orrery::nn {

// Attention and its gradients (ops/attention.h) with products in the precision of a pass: f32, or
// bf16 (ops/attention_bf16.h).

inline void attention(Context& ctx, Precision precision, View<const float, 4> q,
                      View<const float, 4> k, View<const float, 4> v, float scale, bool causal,
                      View<float, 4> out, View<float, 3> log_sum) {
  if (precision == Precision::bf16) {
    attention_bf16(ctx, q, k, v, scale, causal, out, log_sum);
  } else {
    orrery::attention(ctx, q, k, v, scale, causal, out, log_sum);
  }
}

inline void attention_backward(Context& ctx, Precision precision, View<const float, 4> q,
                               View<const float, 4> k, View<const float, 4> v, float scale,
                               bool causal, View<const float, 4> out, View<const float, 3> log_sum,
                               View<const float, 4> dout, View<float, 4> dq, View<float, 4> dk,
                               View<float, 4> dv) {
  if (precision == Precision::bf16) {
    attention_bf16_backward(ctx, q, k, v, scale, causal, out, log_sum, dout, dq, dk, dv);
  } else {
    orrery::attention_backward(ctx, q, k, v, scale, causal, out, log_sum, dout, dq, dk, dv);
  }
}

// Rows kept as bf16, for products of bf16.
inline void attention(Context& ctx, Precision, View<const bf16, 4> q, View<const bf16, 4> k,
                      View<const bf16, 4> v, float scale, bool causal, View<bf16, 4> out,
                      View<float, 3> log_sum) {
  attention_bf16(ctx, q, k, v, scale, causal, out, log_sum);
}

inline void attention_backward(Context& ctx, Precision, View<const bf16, 4> q,
                               View<const bf16, 4> k, View<const bf16, 4> v, float scale,
                               bool causal, View<const bf16, 4> out, View<const float, 3> log_sum,
                               View<const bf16, 4> dout, View<bf16, 4> dq, View<bf16, 4> dk,
                               View<bf16, 4> dv) {
  attention_bf16_backward(ctx, q, k, v, scale, causal, out, log_sum, dout, dq, dk, dv);
}

}  // namespace orrery::nn
