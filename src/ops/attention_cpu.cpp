#include "ops/attention.h"
#include "ops/attention_ref.h"

namespace orrery::cpu {

void attention(Context&, View<const float, 4> q, View<const float, 4> k, View<const float, 4> v,
               float scale, bool causal, View<float, 4> out, View<float, 3> log_sum) {
  attention_ref<float>(q, k, v, static_cast<double>(scale), causal, out, log_sum);
}

void attention_backward(Context&, View<const float, 4> q, View<const float, 4> k,
                        View<const float, 4> v, float scale, bool causal, View<const float, 4> out,
                        View<const float, 3> log_sum, View<const float, 4> dout, View<float, 4> dq,
                        View<float, 4> dk, View<float, 4> dv) {
  attention_backward_ref<float>(q, k, v, static_cast<double>(scale), causal, out, log_sum, dout, dq,
                                dk, dv);
}

}  // namespace orrery::cpu
