#pragma once

#include "base/host_device.h"
#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// What candidates are made of. All of it lies where the context's operations run.
template <typename T>
struct CandidateSource {
  View<const T, 4> noise;  // [group, samples, horizon, action_dim]
  View<const T, 3> mean;   // [group, horizon, action_dim]
  View<const T, 3> std;    // [group, horizon, action_dim]
  View<const T, 1> low;    // [action_dim], may be -inf
  View<const T, 1> high;   // [action_dim], may be inf
  // kept from the iteration before, [group, kept, horizon, action_dim]; may be empty. Taken from
  // the second iteration on.
  View<const T, 4> kept;
  View<const i32, 1> iteration;  // [1], how many went before
};

// x clamped to [low, high]; NaN stays NaN
template <typename T>
ORRERY_HD T clamped(T x, T low, T high) {
  if (x < low) return low;
  return high < x ? high : x;
}

// candidates[e, s] = clamp(mean[e] + std[e] * noise[e, s], low, high)
// candidates[e, 0] = clamp(mean[e]), and from the second iteration on candidates[e, 1 + k] =
// clamp(kept[e, k])
//
//   candidates   [group, samples, horizon, action_dim], contiguous, may be noise; kept < samples
//
// The product is rounded before the sum on every backend: exact, given the noise. CUDA: float only.
template <typename T>
void sample_candidates(Context& ctx, const CandidateSource<T>& source, View<T, 4> candidates);

}  // namespace orrery
