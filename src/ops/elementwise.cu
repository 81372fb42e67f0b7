#include "ops/elementwise.h"

#include "ops/rows_device.h"

namespace orrery::cuda {

namespace {

struct Add {
  const float *a, *b;
  float* y;

  template <bool kAligned>
  __device__ void four(i64, i64, i64 k, i64 count) const {
    Four sum = load_four<kAligned>(a + k, count);
    const Four added = load_four<kAligned>(b + k, count);
#pragma unroll
    for (int n = 0; n < 4; ++n) sum.v[n] += added.v[n];
    store_four<kAligned>(sum, y + k, count);
  }
};

struct AddScaled {
  float factor;
  const float* x;
  float* y;

  // rounded twice, as on the CPU
  template <bool kAligned>
  __device__ void four(i64, i64, i64 k, i64 count) const {
    Four sum = load_four<kAligned>(y + k, count);
    const Four added = load_four<kAligned>(x + k, count);
#pragma unroll
    for (int n = 0; n < 4; ++n) sum.v[n] = __fadd_rn(sum.v[n], __fmul_rn(factor, added.v[n]));
    store_four<kAligned>(sum, y + k, count);
  }
};

struct Scale {
  float factor;
  float* x;

  template <bool kAligned>
  __device__ void four(i64, i64, i64 k, i64 count) const {
    Four value = load_four<kAligned>(x + k, count);
#pragma unroll
    for (int n = 0; n < 4; ++n) value.v[n] *= factor;
    store_four<kAligned>(value, x + k, count);
  }
};

constexpr int kWarps = 4;

// memory-bound, and small: one warp a row
template <bool kAligned>
__global__ void squared_distances_kernel(View<const float, 3> a, View<const float, 3> b,
                                         float factor, float* out) {
  const i64 row = static_cast<i64>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const i64 i = row / a.size(1);
  const i64 j = row - i * a.size(1);
  if (i >= a.size(0)) return;
  const i64 lane = threadIdx.x % kWarp;
  const i64 dim = a.size(2);
  const float* left = a.data() + i * a.stride(0) + j * a.stride(1);
  const float* right = b.data() + i * b.stride(0) + j * b.stride(1);
  float sum = 0;
  for (i64 k = 4 * lane; k < dim; k += 4 * kWarp) {
    const Four x = load_four<kAligned>(left + k, dim - k);
    const Four y = load_four<kAligned>(right + k, dim - k);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const float difference = x.v[n] - y.v[n];
      sum = fmaf(difference, difference, sum);
    }
  }
  sum = group_sum(sum);
  if (lane == 0) out[row] = factor * sum;
}

}  // namespace

void add(Context& ctx, View<const float, 1> a, View<const float, 1> b, View<float, 1> y) {
  pass_over_rows(ctx, "add", in_fours(a) && in_fours(b) && in_fours(y), 1, 1, y.size(0),
                 Add{a.data(), b.data(), y.data()});
}

void add_scaled(Context& ctx, float factor, View<const float, 1> x, View<float, 1> y) {
  pass_over_rows(ctx, "add_scaled", in_fours(x) && in_fours(y), 1, 1, y.size(0),
                 AddScaled{factor, x.data(), y.data()});
}

void scale(Context& ctx, float factor, View<float, 1> x) {
  pass_over_rows(ctx, "scale", in_fours(x), 1, 1, x.size(0), Scale{factor, x.data()});
}

void squared_distances(Context& ctx, View<const float, 3> a, View<const float, 3> b, float factor,
                       View<float, 2> out) {
  const auto kernel =
      in_fours(a) && in_fours(b) ? squared_distances_kernel<true> : squared_distances_kernel<false>;
  launch(ctx, {"squared_distances", dim3(blocks_for(out.numel(), kWarps)), dim3(kWarps * kWarp)},
         kernel, a, b, factor, out.data());
}

}  // namespace orrery::cuda
