#pragma once

#include <span>

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

// A stretch of the parameters that learns in a way of its own: from where the one before it ends.
struct AdamWGroup {
  i64 end = 0;            // of the last group: the number of parameters
  float lr_scale = 1.0f;  // its learning rate is lr * lr_scale
  float weight_decay = 1e-3f;
};

// All views contiguous and of one size; step counts from 1; gradients are multiplied by
// gradient_factor first (clipping). `groups` in the order of their ends; without any, settings hold
// for all parameters. One pass. steady
void adamw_step(Context& ctx, const AdamW& settings, std::span<const AdamWGroup> groups, i64 step,
                float gradient_factor, View<const float, 1> gradient, View<float, 1> parameter,
                View<float, 1> m, View<float, 1> v);

// y += share * (x - y), a moving average of x: every element with two roundings and one of the
// product. Contiguous arrays of one size. exact
void move_towards(Context& ctx, float share, View<const float, 1> x, View<float, 1> y);

}  // namespace orrery
