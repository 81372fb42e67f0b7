#include "ops/activation.h"

#include "ops/activation_device.h"
#include "ops/rows_device.h"

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

namespace {

struct Activate {
  Activation activation;
  const bf16* x;
  bf16* y;

  template <bool kAligned>
  __device__ void four(i64, i64, i64 k, i64 count) const {
    Four value = load_four<kAligned>(x + k, count);
#pragma unroll
    for (int n = 0; n < 4; ++n) value.v[n] = activated(activation, value.v[n]);
    store_four<kAligned>(value, y + k, count);
  }
};

// dx may be dy: a four is read before it is written
template <typename T>
struct ActivateBackward {
  Activation activation;
  const T *x, *dy;
  T* dx;

  template <bool kAligned>
  __device__ void four(i64, i64, i64 k, i64 count) const {
    const Four value = load_four<kAligned>(x + k, count);
    Four slope = load_four<kAligned>(dy + k, count);
#pragma unroll
    for (int n = 0; n < 4; ++n) slope.v[n] *= activation_slope(activation, value.v[n]);
    store_four<kAligned>(slope, dx + k, count);
  }
};

template <typename T>
void backward(Context& ctx, const char* name, Activation activation, View<const T, 1> x,
              View<const T, 1> dy, View<T, 1> dx) {
  pass_over_rows(ctx, name, in_fours(x) && in_fours(dy) && in_fours(dx), 1, 1, x.size(0),
                 ActivateBackward<T>{activation, x.data(), dy.data(), dx.data()});
}

}  // namespace

void activate(Context& ctx, Activation activation, View<const float, 1> x, View<float, 1> y) {
  if (x.size(0) == 0) return;
  launch(ctx, {"activate", dim3(blocks_for(x.size(0), kThreads)), dim3(kThreads)}, activate_kernel,
         activation, x.data(), y.data(), x.size(0));
}

void activate_backward(Context& ctx, Activation activation, View<const float, 1> x,
                       View<const float, 1> dy, View<float, 1> dx) {
  backward(ctx, "activate_backward", activation, x, dy, dx);
}

void activate_bf16(Context& ctx, Activation activation, View<const bf16, 1> x, View<bf16, 1> y) {
  pass_over_rows(ctx, "activate_bf16", in_fours(x) && in_fours(View<const bf16, 1>(y)), 1, 1,
                 x.size(0), Activate{activation, x.data(), y.data()});
}

void activate_bf16_backward(Context& ctx, Activation activation, View<const bf16, 1> x,
                            View<const bf16, 1> dy, View<bf16, 1> dx) {
  backward(ctx, "activate_bf16_backward", activation, x, dy, dx);
}

}  // namespace cuda

}  // namespace orrery
