#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// What the gradient of an optimiser step is multiplied with, found where it lies: nothing waits for
// the host.
//
//   result[0] = norm   = share * sqrt(sum_i gradient[i]^2)
//   result[1] = factor = share * (clip > 0 ? min(1, clip / (norm + 1e-6)) : 1)
//
//   gradient   [n] contiguous
//   loss       a value that must be finite too, or empty
//   result     [2]
//
// share is 1 / the batches whose gradients were added. The 1e-6 is that of PyTorch's
// clip_grad_norm_. Where norm or loss are not finite the factor is NaN, which adamw_step takes as
// word to leave everything as it is.
//
// Sums of squares in double, each exact, so norms of different backends agree to 1e-13; steady
void gradient_clip(Context& ctx, View<const float, 1> gradient, double share, double clip,
                   View<const double, 1> loss, View<double, 1> result);

}  // namespace orrery
