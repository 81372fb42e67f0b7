#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// Attention without a softmax (Katharopoulos et al., "Transformers are RNNs", arXiv:2006.16236),
// every token seeing every other: with phi(u) = u + 1 for u > 0, e^u otherwise,
//
//   S[h] = sum_s phi(k[b, s, h, :]) v[b, s, h, :]^T,   n[h] = sum_s phi(k[b, s, h, :])
//   out[b, t, h, :] = phi(q[b, t, h, :])^T S[h] / (phi(q[b, t, h, :]) . n[h] + 1e-6)
//
// There is no scale. Work grows with tokens * dim^2.
//
//   q, out   [batch, queries, heads, dim]   any strides but the last dimension contiguous
//   k, v     [batch, keys, heads, dim]
//
// CPU only. tolerant: within 1e-5 of the reference for values of unit size, keys <= 4096; steady:
// one (batch, head) pair is one task
void linear_attention(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                      View<const float, 4> v, View<float, 4> out);

// Gradients of the above, stored (not added). out as the forward pass wrote it. steady
void linear_attention_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                               View<const float, 4> v, View<const float, 4> out,
                               View<const float, 4> dout, View<float, 4> dq, View<float, 4> dk,
                               View<float, 4> dv);

}  // namespace orrery
