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

struct ModulateBackward {
  View<const float, 3> x, scale, dy;
  View<float, 3> dx, dshift, dscale;

  // dx may be dy: a four is read before it is written
  template <bool kAligned>
  __device__ void four(i64 i, i64 j, i64 k, i64 count) const {
    const Four slope = load_four<kAligned>(at(dy, i, j, k), count);
    const Four value = load_four<kAligned>(at(x, i, j, k), count);
    Four times = load_four<kAligned>(at(scale, i, j, k), count), by_scale;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      times.v[n] = slope.v[n] * (times.v[n] + 1.0f);
      by_scale.v[n] = slope.v[n] * value.v[n];
    }
    store_four<kAligned>(slope, at(dshift, i, j, k), count);
    store_four<kAligned>(by_scale, at(dscale, i, j, k), count);
    store_four<kAligned>(times, at(dx, i, j, k), count);
  }
};

struct GatedAddBackward {
  View<const float, 3> gate, branch, dy;
  View<float, 3> dgate, dbranch;

  template <bool kAligned>
  __device__ void four(i64 i, i64 j, i64 k, i64 count) const {
    const Four slope = load_four<kAligned>(at(dy, i, j, k), count);
    Four to_branch = load_four<kAligned>(at(gate, i, j, k), count);
    Four to_gate = load_four<kAligned>(at(branch, i, j, k), count);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      to_branch.v[n] *= slope.v[n];
      to_gate.v[n] *= slope.v[n];
    }
    store_four<kAligned>(to_gate, at(dgate, i, j, k), count);
    store_four<kAligned>(to_branch, at(dbranch, i, j, k), count);
  }
};

}  // namespace

void modulate(Context& ctx, View<const float, 3> x, View<const float, 3> shift,
              View<const float, 3> scale, View<float, 3> y) {
  const bool aligned = in_fours(x) && in_fours(shift) && in_fours(scale) && in_fours(y);
  pass_over_rows(ctx, "modulate", aligned, x.size(0), x.size(1), x.size(2),
                 Modulate{x, shift, scale, y});
}

void modulate_backward(Context& ctx, View<const float, 3> x, View<const float, 3> scale,
                       View<const float, 3> dy, View<float, 3> dx, View<float, 3> dshift,
                       View<float, 3> dscale) {
  const bool aligned = in_fours(x) && in_fours(scale) && in_fours(dy) && in_fours(dx) &&
                       in_fours(dshift) && in_fours(dscale);
  pass_over_rows(ctx, "modulate_backward", aligned, x.size(0), x.size(1), x.size(2),
                 ModulateBackward{x, scale, dy, dx, dshift, dscale});
}

void gated_add(Context& ctx, View<const float, 3> x, View<const float, 3> gate,
               View<const float, 3> branch, View<float, 3> y) {
  const bool aligned = in_fours(x) && in_fours(gate) && in_fours(branch) && in_fours(y);
  pass_over_rows(ctx, "gated_add", aligned, x.size(0), x.size(1), x.size(2),
                 GatedAdd{x, gate, branch, y});
}

void gated_add_backward(Context& ctx, View<const float, 3> gate, View<const float, 3> branch,
                        View<const float, 3> dy, View<float, 3> dgate, View<float, 3> dbranch) {
  const bool aligned =
      in_fours(gate) && in_fours(branch) && in_fours(dy) && in_fours(dgate) && in_fours(dbranch);
  pass_over_rows(ctx, "gated_add_backward", aligned, gate.size(0), gate.size(1), gate.size(2),
                 GatedAddBackward{gate, branch, dy, dgate, dbranch});
}

}  // namespace orrery::cuda
