#pragma once

#include "base/bf16.h"
#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// The attention of attention.h and its gradients with products of mixed precision: queries, keys,
// values, softmax weights and their gradients enter products as bf16, sums and the softmax are f32.
// Where a processor has no AVX-512 BF16, and for few queries and keys (four; on a CUDA device four
// queries, backward 16 and as many keys), where products are the least of it, it is attention.h's
// in f32. Heads on a CUDA device as there.
//
// Views, scale, causal and log_sum as there. Rows are kept as floats or as bf16, which results are
// then rounded to; a CUDA device takes the latter as attention.h says. The backward pass must be
// given what this forward pass wrote.
//
// tolerant: every factor is rounded by at most 2^-9 of itself, so for values of unit size results
// are within 2^-6 (out) and 2^-4 times the largest gradient of those in f32. steady
void attention_bf16(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                    View<const float, 4> v, float scale, bool causal, View<float, 4> out,
                    View<float, 3> log_sum = {});

void attention_bf16(Context& ctx, View<const bf16, 4> q, View<const bf16, 4> k,
                    View<const bf16, 4> v, float scale, bool causal, View<bf16, 4> out,
                    View<float, 3> log_sum = {});

void attention_bf16_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                             View<const float, 4> v, float scale, bool causal,
                             View<const float, 4> out, View<const float, 3> log_sum,
                             View<const float, 4> dout, View<float, 4> dq, View<float, 4> dk,
                             View<float, 4> dv);
void attention_bf16_backward(Context& ctx, View<const bf16, 4> q, View<const bf16, 4> k,
                             View<const bf16, 4> v, float scale, bool causal,
                             View<const bf16, 4> out, View<const float, 3> log_sum,
                             View<const bf16, 4> dout, View<bf16, 4> dq, View<bf16, 4> dk,
                             View<bf16, 4> dv);

}  // namespace orrery
