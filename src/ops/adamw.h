#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// One AdamW step (Loshchilov & Hutter 2019; PyTorch's order of operations):
//   p *= 1 - lr * weight_decay
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
struct AdamW {
  float lr = 5e-5f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 1e-3f;
};

// All views contiguous and of one size; step counts from 1; gradients are multiplied by
// gradient_factor first (clipping). steady
void adamw_step(Context& ctx, const AdamW& settings, i64 step, float gradient_factor,
                View<const float, 1> gradient, View<float, 1> parameter, View<float, 1> m,
                View<float, 1> v);

}  // namespace orrery
