#include "ops/activation_device.h"

namespace orrery {

namespace {

constexpr int kThreads = 256;

// memory-bound: reads and writes 4 bytes a value; one thread a value
__global__ void activate_kernel(Activation activation, const float* x, float* y, i64 count) {
  const i64 i = static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) y[i] = cuda::activated(activation, x[i]);
}

}  // namespace

namespace cuda {

void activate(Context& ctx, Activation activation, View<const float, 1> x, View<float, 1> y) {
  if (x.size(0) == 0) return;
  launch(ctx, {"activate", dim3(blocks_for(x.size(0), kThreads)), dim3(kThreads)}, activate_kernel,
         activation, x.data(), y.data(), x.size(0));
}

}  // namespace cuda

}  // namespace orrery
