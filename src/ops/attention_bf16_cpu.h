#pragma once

// The kernels of attention_bf16; arguments are checked by then.

#include "base/bf16.h"
#include "device/context.h"
#include "tensor/view.h"

namespace orrery::cpu {

// T is float or bf16
template <typename T>
struct AttentionInputs {
  View<const T, 4> q, k, v;
  float scale;
  bool causal;

  // keys that query t sees
  i64 seen(i64 t) const { return causal ? t + k.size(1) - q.size(1) + 1 : k.size(1); }
};

template <typename T>
void attention_bf16(Context& ctx, const AttentionInputs<T>& inputs, View<T, 4> out,
                    View<float, 3> log_sum);
template <typename T>
void attention_bf16_backward(Context& ctx, const AttentionInputs<T>& inputs, View<const T, 4> out,
                             View<const float, 3> log_sum, View<const T, 4> dout, View<T, 4> dq,
                             View<T, 4> dk, View<T, 4> dv);

}  // namespace orrery::cpu
