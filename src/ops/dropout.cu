#include "ops/dropout.h"

#include "ops/attention_device.h"
#include "ops/dropout_device.h"

namespace orrery::cuda {

namespace {

constexpr int kThreads = 256;

// Bound by about 100 integer operations for four values, beside 32 bytes of memory. A thread has
// the elements of one call of Philox.
__global__ void dropout_kernel(Dropout settings, const float* x, float* y, i64 count) {
  Mask mask(settings);
  const i64 block = static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x;
  const i64 begin = 4 * (settings.first / 4 + block) - settings.first;
#pragma unroll
  for (i64 i = begin; i < begin + 4; ++i) {
    if (i >= 0 && i < count) y[i] = x[i] * mask(i);
  }
}

}  // namespace

void dropout(Context& ctx, const Dropout& settings, View<const float, 1> x, View<float, 1> y) {
  const i64 calls = (settings.first + x.size(0) + 3) / 4 - settings.first / 4;
  launch(ctx, {"dropout", dim3(blocks_for(calls, kThreads)), dim3(kThreads)}, dropout_kernel,
         settings, x.data(), y.data(), x.size(0));
}

void attention_dropout(Context& ctx, const Dropout& settings, View<const float, 4> q,
                       View<const float, 4> k, View<const float, 4> v, float scale, bool causal,
                       View<float, 4> out) {
  window_attention(ctx, settings, {q, k, v, scale, causal, out, {}});
}

void attention_dropout_backward(Context& ctx, const Dropout& settings, View<const float, 4> q,
                                View<const float, 4> k, View<const float, 4> v, float scale,
                                bool causal, View<const float, 4> dout, View<float, 4> dq,
                                View<float, 4> dk, View<float, 4> dv) {
  window_attention_backward(ctx, settings, {q, k, v, scale, causal, {}, {}, dout, dq, dk, dv, {}});
}

}  // namespace orrery::cuda
