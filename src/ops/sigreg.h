#pragma once

#include "device/context.h"
#include "ops/batch_share.h"
#include "tensor/view.h"

namespace orrery {

// Sketched isotropic Gaussian regularisation (Balestriero & LeCun, "LeJEPA", 2025; constants of
// LeWM): latents are projected on random unit directions and each projection's empirical
// characteristic function is compared with that of the standard normal by the Epps-Pulley
// statistic.
//
//   h = z_t a_m;  C_k = mean_B cos(t_k h), S_k = mean_B sin(t_k h)
//   statistic = B * sum_k w_k [(C_k - phi_k)^2 + S_k^2]
//   t_k = k * span / (knots - 1);  phi_k = exp(-t_k^2 / 2)
//   w_k = phi_k * dt * (k at an end ? 1 : 2)
//   loss = mean over time and directions
struct SigregSettings {
  int knots = 17;
  float span = 3.0f;
};

//   z            [time, batch, dim], any strides but the last contiguous
//   directions   [dim, projections], raw normal draws: columns are scaled to unit length here
//   statistics   [time, projections], written
//   dz           same shape as z, contiguous last dimension: gradient of the loss, stored; may be
//                empty
//   share        which rows of the batch z holds: B and the means C and S are the whole batch's, so
//                every process finds the same statistics and loss, and the dz of its rows
//   loss         [1], written
//
// steady
void sigreg(Context& ctx, const SigregSettings& settings, View<const float, 3> z,
            View<const float, 2> directions, View<float, 2> statistics, View<float, 3> dz,
            View<double, 1> loss, const BatchShare& share = {});
// The same on a CPU, where the loss can be returned.
double sigreg(Context& ctx, const SigregSettings& settings, View<const float, 3> z,
              View<const float, 2> directions, View<float, 2> statistics, View<float, 3> dz,
              const BatchShare& share = {});

inline constexpr int kSigregMaxKnots = 64;

// The directions of a step: normal draws 0, 1, .. of (seed, *stream), where the stream lies where
// the context works, so that captured work may be run again for another step. directions
// contiguous. steady, and the same on every backend as far as base/random.h says
void draw_directions(Context& ctx, u64 seed, View<const u64, 1> stream, View<float, 2> directions);

}  // namespace orrery
