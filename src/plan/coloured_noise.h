#pragma once

#include <vector>

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// The longest horizon that noise is coloured over.
inline constexpr i64 kMostColouredBlocks = 64;

// Noise with a power spectrum of f^-beta over the horizon, so that successive actions resemble each
// other: iCEM's. White noise goes through a discrete Fourier transform over time, bin k is
// multiplied by g_k = f_k^(-beta/2) with f_k = k/T, g_0 = g_1 (so the mean over time stays), and
// the transform is undone. As the transform is linear and its weights real and even, all of it is
// one circular convolution with
//
//   c_j = 1/T sum_k g_min(k, T-k) cos(2 pi k j / T),    j = 0 ... T-1
//
// which this returns. 2 <= horizon <= kMostColouredBlocks: a horizon of one has no bin 1. Timmer,
// Koenig, "On generating power law noise", 1995; the variant of stable-worldmodel.
std::vector<double> colour_filter(i64 horizon, double beta);

// coloured[g, s, t, d] = y_t / max(std(y), 1e-8),   y_t = sum_u c_(t-u mod T) white[g, s, d, u]
//
// where std is the sample standard deviation of the T numbers of y: over time, not over samples.
// The mean is not taken out.
//
//   white      [group, samples, action_dim, horizon]   the layout of recorded draws
//   filter     [horizon]                               c, where the context's operations run
//   coloured   [group, samples, horizon, action_dim]   not white
//
// tolerant: in double, rounded once; within 1e-5 of the official filter, which works in float.
// Equal on CPU and CUDA but for rare last bits. CUDA: float only.
template <typename T>
void colour_noise(Context& ctx, View<const T, 4> white, View<const double, 1> filter,
                  View<T, 4> coloured);

}  // namespace orrery
