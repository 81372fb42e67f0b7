#include "device/cuda.h"
#include "ops/squared_norms.h"

namespace orrery {

namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;

// memory-bound, and small: one warp a row, lanes take every 32nd number
__global__ void add_squared_norms_kernel(const float* x, i64 rows, i64 dim, float factor,
                                         float* out) {
  const i64 row = static_cast<i64>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (row >= rows) return;
  const int lane = threadIdx.x % kWarp;
  double sum = 0;
  for (i64 d = lane; d < dim; d += kWarp) {
    const auto value = static_cast<double>(x[row * dim + d]);
    sum += value * value;
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, step);
  }
  if (lane == 0) {
    out[row] =
        static_cast<float>(static_cast<double>(out[row]) + static_cast<double>(factor) * sum);
  }
}

}  // namespace

namespace cuda {

void add_squared_norms(Context& ctx, View<const float, 2> x, float factor, View<float, 1> out) {
  launch(ctx, {"add_squared_norms", dim3(blocks_for(x.size(0), kWarps)), dim3(kWarps * kWarp)},
         add_squared_norms_kernel, x.data(), x.size(0), x.size(1), factor, out.data());
}

}  // namespace cuda

}  // namespace orrery
