#include "ops/layer_norm.h"

#include "ops/warp_device.h"

namespace orrery {

namespace {

using namespace cuda;

constexpr int kWarps = 4;

// Memory-bound: reads x once where the row fits kHeld fours a lane (else three times, from L1),
// writes y once. One warp a row: no barrier, and the sums' order is the same for every row.
template <int kHeld, bool kAligned>
__global__ void layer_norm_kernel(View<const float, 2> x, const float* gain, const float* bias,
                                  float eps, View<float, 2> y, float* mean, float* rstd) {
  const i64 row = static_cast<i64>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (row >= x.size(0)) return;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const i64 dim = x.size(1);
  const float* from = x.data() + row * x.stride(0);
  float* to = y.data() + row * y.stride(0);
  const float share = 1.0f / static_cast<float>(dim);

  // body(four, first value's place, how many are in the row) for each four of this lane
  Four held[kHeld > 0 ? kHeld : 1];
  const auto for_each_four = [&](const auto& body) {
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int n = 0; n < kHeld; ++n) {
        const i64 k = 4 * (lane + static_cast<i64>(n) * kWarp);
        if (k < dim) body(held[n], k, dim - k);
      }
    } else {
      for (i64 k = 4 * lane; k < dim; k += 4 * kWarp) {
        Four four = load_four<kAligned>(from + k, dim - k);
        body(four, k, dim - k);
      }
    }
  };
  if constexpr (kHeld > 0) {
    for_each_four(
        [&](Four& four, i64 k, i64 count) { four = load_four<kAligned>(from + k, count); });
  }

  float sum = 0;
  for_each_four([&](const Four& four, i64, i64) {
    sum += (four.v[0] + four.v[1]) + (four.v[2] + four.v[3]);
  });
  const float mu = group_sum(sum) * share;

  // places beyond the row hold 0, which is not the mean: they must not count
  float squares = 0;
  for_each_four([&](const Four& four, i64, i64 count) {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const float deviation = kAligned || n < count ? four.v[n] - mu : 0.0f;
      squares = fmaf(deviation, deviation, squares);
    }
  });
  const float scale = 1.0f / sqrtf(group_sum(squares) * share + eps);

  for_each_four([&](const Four& four, i64 k, i64 count) {
    Four result;
#pragma unroll
    for (int n = 0; n < 4; ++n) result.v[n] = (four.v[n] - mu) * scale;
    if (gain != nullptr) {
      const Four times = load_four<kAligned>(gain + k, count);
      const Four plus = load_four<kAligned>(bias + k, count);
#pragma unroll
      for (int n = 0; n < 4; ++n) result.v[n] = fmaf(result.v[n], times.v[n], plus.v[n]);
    }
    store_four<kAligned>(result, to + k, count);
  });
  if (lane == 0 && mean != nullptr) mean[row] = mu;
  if (lane == 0 && rstd != nullptr) rstd[row] = scale;
}

}  // namespace

namespace cuda {

void layer_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, View<float, 2> y, View<float, 1> mean,
                View<float, 1> rstd) {
  const i64 dim = x.size(1);
  if (x.size(0) == 0 || dim == 0) return;
  const bool aligned = in_fours(x) && in_fours(y) && in_fours(gain) && in_fours(bias);
  // the model's rows of 192 to 256 values, heads of 2048 that take the long way, and what lies
  // between
  auto kernel = aligned ? layer_norm_kernel<0, true> : layer_norm_kernel<0, false>;
  if (dim <= 2 * 4 * kWarp) {
    kernel = aligned ? layer_norm_kernel<2, true> : layer_norm_kernel<2, false>;
  } else if (dim <= 8 * 4 * kWarp) {
    kernel = aligned ? layer_norm_kernel<8, true> : layer_norm_kernel<8, false>;
  }
  launch(ctx, {"layer_norm", dim3(blocks_for(x.size(0), kWarps)), dim3(kWarps * kWarp)}, kernel, x,
         gain.data(), bias.data(), eps, y, mean.data(), rstd.data());
}

}  // namespace cuda

}  // namespace orrery
