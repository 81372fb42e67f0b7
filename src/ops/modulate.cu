#include "ops/modulate.h"

#include "ops/rows_device.h"

namespace orrery::cuda {

namespace {

template <typename T>
__device__ T* at(View<T, 3> view, i64 i, i64 j, i64 k) {
  return view.data() + i * view.stride(0) + j * view.stride(1) + k;
}

struct Modulate {
  View<const float, 3> x, shift, scale;
  View<float, 3> y;

  template <bool kAligned>
  __device__ void four(i64 i, i64 j, i64 k, i64 count) const {
    Four value = load_four<kAligned>(at(x, i, j, k), count);
    const Four plus = load_four<kAligned>(at(shift, i, j, k), count);
    const Four times = load_four<kAligned>(at(scale, i, j, k), count);
#pragma unroll
    for (int n = 0; n < 4; ++n) value.v[n] = fmaf(value.v[n], times.v[n] + 1.0f, plus.v[n]);
    store_four<kAligned>(value, at(y, i, j, k), count);
  }
};

struct GatedAdd {
  View<const float, 3> x, gate, branch;
  View<float, 3> y;

  template <bool kAligned>
  __device__ void four(i64 i, i64 j, i64 k, i64 count) const {
    Four value = load_four<kAligned>(at(x, i, j, k), count);
    const Four share = load_four<kAligned>(at(gate, i, j, k), count);
    const Four added = load_four<kAligned>(at(branch, i, j, k), count);
#pragma unroll
    for (int n = 0; n < 4; ++n) value.v[n] = fmaf(share.v[n], added.v[n], value.v[n]);
    store_four<kAligned>(value, at(y, i, j, k), count);
  }
};

}  // namespace

void modulate(Context& ctx, View<const float, 3> x, View<const float, 3> shift,
              View<const float, 3> scale, View<float, 3> y) {
  const bool aligned = in_fours(x) && in_fours(shift) && in_fours(scale) && in_fours(y);
  pass_over_rows(ctx, "modulate", aligned, x.size(0), x.size(1), x.size(2),
                 Modulate{x, shift, scale, y});
}

void gated_add(Context& ctx, View<const float, 3> x, View<const float, 3> gate,
               View<const float, 3> branch, View<float, 3> y) {
  const bool aligned = in_fours(x) && in_fours(gate) && in_fours(branch) && in_fours(y);
  pass_over_rows(ctx, "gated_add", aligned, x.size(0), x.size(1), x.size(2),
                 GatedAdd{x, gate, branch, y});
}

}  // namespace orrery::cuda
