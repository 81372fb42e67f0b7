#pragma once

#include "base/bf16.h"
#include "device/context.h"
#include "ops/activation.h"
#include "tensor/view.h"

namespace orrery {

// activation.h on values kept as bf16: computed in f32, rounded once.
//
// tolerant: within 2^-8 of the result's size of the function of the bf16 value. exact in the sense
// that every value depends on its own input alone

// y = f(x); all contiguous, y may be x
void activate_bf16(Context& ctx, Activation activation, View<const bf16, 1> x, View<bf16, 1> y);

// dx = f'(x) dy; dx may be dy
void activate_bf16_backward(Context& ctx, Activation activation, View<const bf16, 1> x,
                            View<const bf16, 1> dy, View<bf16, 1> dx);

}  // namespace orrery
