#pragma once

#include <span>
#include <vector>

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

// The numbers of one step that do not depend on the element, from double and rounded once.
template <typename T>
struct AdamWFactors {
  T keep;          // 1 - lr * weight_decay
  T beta1, rest1;  // and 1 - beta1
  T beta2, rest2;
  T step_size;  // lr / (1 - beta1^t)
  T root;       // sqrt(1 - beta2^t)
  T eps;
};

// The same of one step and one stretch: what changes from step to step, as one row of memory.
struct AdamWStretch {
  i64 end = 0;
  AdamWFactors<float> factors = {};
};
// as many as `groups` (one, when there are none), for a step that counts from 1 and `size`
// parameters
std::vector<AdamWStretch> adamw_stretches(const AdamW& settings, std::span<const AdamWGroup> groups,
                                          i64 step, i64 size);

// One step whose numbers lie where the context works, so that captured work may be run again with
// others. `clipped` is the result of gradient_clip.h; when its factor is not a number, nothing is
// changed. The stretches' ends are for the caller to have right. steady, and with the same factors
// the same bits on every backend
void adamw_step(Context& ctx, View<const AdamWStretch, 1> stretches, View<const double, 1> clipped,
                View<const float, 1> gradient, View<float, 1> parameter, View<float, 1> m,
                View<float, 1> v);

// All views contiguous and of one size; step counts from 1; gradients are multiplied by
// gradient_factor first (clipping). `groups` in the order of their ends; without any, settings hold
// for all parameters. One pass. steady, equal on every backend
void adamw_step(Context& ctx, const AdamW& settings, std::span<const AdamWGroup> groups, i64 step,
                float gradient_factor, View<const float, 1> gradient, View<float, 1> parameter,
                View<float, 1> m, View<float, 1> v);

// y += share * (x - y), a moving average of x: every element with two roundings and one of the
// product. Contiguous arrays of one size. exact
void move_towards(Context& ctx, float share, View<const float, 1> x, View<float, 1> y);

}  // namespace orrery
