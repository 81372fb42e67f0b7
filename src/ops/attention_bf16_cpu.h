#pragma once

// The kernels of attention_bf16; arguments are checked by then.

#include "device/context.h"
#include "tensor/view.h"

namespace orrery::cpu {

struct AttentionInputs {
  View<const float, 4> q, k, v;
  float scale;
  bool causal;

  // keys that query t sees
  i64 seen(i64 t) const { return causal ? t + k.size(1) - q.size(1) + 1 : k.size(1); }
};

void attention_bf16(Context& ctx, const AttentionInputs& inputs, View<float, 4> out,
                    View<float, 3> log_sum);
void attention_bf16_backward(Context& ctx, const AttentionInputs& inputs, View<const float, 4> out,
                             View<const float, 3> log_sum, View<const float, 4> dout,
                             View<float, 4> dq, View<float, 4> dk, View<float, 4> dv);

}  // namespace orrery::cpu
