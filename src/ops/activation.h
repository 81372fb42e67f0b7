#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

//   gelu(v) = v * (1 + erf(v / sqrt 2)) / 2      the exact form, not the tanh approximation
//   silu(v) = v / (1 + exp(-v))
enum class Activation { none, gelu, silu };

// y[i] = activation(x[i])
//
//   x, y   contiguous, same size; y may be x
//
// tolerant: within 5 ulp of the exact value for results above 1e-6 in size, 1e-9 below (3.3 ulp
// with fused multiply-add)
void activate(Context& ctx, Activation activation, View<const float, 1> x, View<float, 1> y);

// dx[i] = dy[i] * activation'(x[i]); dx may be dy
void activate_backward(Context& ctx, Activation activation, View<const float, 1> x,
                       View<const float, 1> dy, View<float, 1> dx);

}  // namespace orrery
