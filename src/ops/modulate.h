#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// Adaptive layer norm's two halves (Peebles & Xie, "Scalable diffusion models with transformers",
// 2023). All views [batch, tokens, dim], any strides but the last dimension contiguous, so that
// shift, scale and gate can be slices of one modulation row [6 * dim] and a stride of 0 can share
// one row among a batch.

// y = x * (1 + scale) + shift; y may be x
void modulate(Context& ctx, View<const float, 3> x, View<const float, 3> shift,
              View<const float, 3> scale, View<float, 3> y);

// dx = dy * (1 + scale), dshift = dy, dscale = dy * x; all stored; dx may be dy
void modulate_backward(Context& ctx, View<const float, 3> x, View<const float, 3> scale,
                       View<const float, 3> dy, View<float, 3> dx, View<float, 3> dshift,
                       View<float, 3> dscale);

// y = x + gate * branch; y may be x
void gated_add(Context& ctx, View<const float, 3> x, View<const float, 3> gate,
               View<const float, 3> branch, View<float, 3> y);

// dbranch = gate * dy, dgate = branch * dy; both stored. (dx = dy: nothing to do.)
void gated_add_backward(Context& ctx, View<const float, 3> gate, View<const float, 3> branch,
                        View<const float, 3> dy, View<float, 3> dgate, View<float, 3> dbranch);

}  // namespace orrery
