#include "device/cuda.h"
#include "plan/coloured_noise.h"

namespace orrery {

namespace {

constexpr int kThreads = 128;

// compute-bound: 2 horizon^2 double operations for 8 horizon bytes
// one thread has one sequence; the convolution stays with it (in registers up to 8 blocks)
template <int kMost>
__global__ void colour_noise_kernel(const float* white, const double* filter, i64 rows, int dim,
                                    int horizon, float* coloured) {
  const i64 index = static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= rows * dim) return;
  const i64 row = index / dim;
  const i64 d = index - row * dim;
  const float* x = white + index * horizon;

  double y[kMost];
  double sum = 0;
#pragma unroll
  for (int t = 0; t < kMost; ++t) {
    if (t >= horizon) break;
    y[t] = 0;
    for (int u = 0; u < horizon; ++u) {
      y[t] += filter[t >= u ? t - u : t - u + horizon] * static_cast<double>(x[u]);
    }
    sum += y[t];
  }
  const double mean = sum / horizon;
  double squares = 0;
#pragma unroll
  for (int t = 0; t < kMost; ++t) {
    if (t >= horizon) break;
    squares += (y[t] - mean) * (y[t] - mean);
  }
  const double std = sqrt(squares / (horizon - 1));
  float* out = coloured + row * horizon * dim + d;
#pragma unroll
  for (int t = 0; t < kMost; ++t) {
    if (t >= horizon) break;
    out[static_cast<i64>(t) * dim] = static_cast<float>(y[t] / (std < 1e-8 ? 1e-8 : std));
  }
}

}  // namespace

namespace cuda {

void colour_noise(Context& ctx, View<const float, 4> white, View<const double, 1> filter,
                  View<float, 4> coloured) {
  constexpr int kFew = 8;  // 8 doubles a thread stay in registers
  const i64 rows = white.size(0) * white.size(1);
  const int dim = static_cast<int>(white.size(2));
  const int horizon = static_cast<int>(white.size(3));
  const auto kernel = horizon <= kFew ? colour_noise_kernel<kFew>
                                      : colour_noise_kernel<static_cast<int>(kMostColouredBlocks)>;
  launch(ctx, {"colour_noise", dim3(blocks_for(rows * dim, kThreads)), dim3(kThreads)}, kernel,
         white.data(), filter.data(), rows, dim, horizon, coloured.data());
}

}  // namespace cuda

}  // namespace orrery
