#pragma once

// The end of a tile of the matrix product: bias, activation, gate and residual are done to sums on
// their way from registers to y.

#include "ops/activation_device.h"
#include "ops/gemm_math_device.h"
#include "ops/gemm_product.h"
#include "ops/rows_device.h"

namespace orrery::cuda {

namespace {

// (v / 2) (1 + erf(v / sqrt 2)) with erf by formula 7.1.26 of Abramowitz and Stegun, "Handbook of
// mathematical functions": 1 - t (a1 + t (a2 + ..)) exp(-u^2), t = 1 / (1 + p u), within 1.5e-7.
// A third of the exact form's instructions, and below what bf16 and tf32 can tell.
__device__ inline float gelu_short(float v) {
  const float size = fabsf(v);
  const float u = size * 0.70710678f;
  const float t = __fdividef(1.0f, fmaf(0.3275911f, u, 1.0f));
  float series = fmaf(1.061405429f, t, -1.453152027f);
  series = fmaf(series, t, 1.421413741f);
  series = fmaf(series, t, -0.284496736f);
  series = fmaf(series, t, 0.254829592f);
  const float tail = 0.5f * series * t * __expf(-u * u);
  return fmaxf(v, 0.0f) - size * tail;
}

// its slope: (1 + erf(v / sqrt 2)) / 2 + v exp(-v^2 / 2) / sqrt(2 pi), by the same formula
__device__ inline float gelu_slope_short(float v) {
  const float u = fabsf(v) * 0.70710678f;
  const float t = __fdividef(1.0f, fmaf(0.3275911f, u, 1.0f));
  float series = fmaf(1.061405429f, t, -1.453152027f);
  series = fmaf(series, t, 1.421413741f);
  series = fmaf(series, t, -0.284496736f);
  series = fmaf(series, t, 0.254829592f);
  const float bell = __expf(-u * u);
  const float tail = 0.5f * series * t * bell;
  return fmaf(v * 0.39894228f, bell, v > 0.0f ? 1.0f - tail : tail);
}

template <Precision kPrecision>
__device__ inline float activated_in(Activation activation, float v) {
  if (kPrecision != Precision::f32 && activation == Activation::gelu) return gelu_short(v);
  return activated(activation, v);
}

// Four neighbouring values of y, or fewer at the right edge, from sums to memory.
template <Precision kPrecision, bool kWhole>
__device__ void finish_four(const Product& p, Four value, float row_scale, i64 row, int col) {
  constexpr bool kCodes = kPrecision == Precision::int8 || kPrecision == Precision::fp8;
  const i64 count = p.outputs - col;
  if constexpr (kCodes) {
    const Four scale = load_four<kWhole>(p.weight_scales + col, count);
#pragma unroll
    for (int e = 0; e < 4; ++e) value.v[e] *= row_scale * scale.v[e];
  }
  if (p.bias != nullptr) {
    const Four bias = load_four<kWhole>(p.bias + col, count);
#pragma unroll
    for (int e = 0; e < 4; ++e) value.v[e] += bias.v[e];
  }
  if (p.activation != Activation::none) {
#pragma unroll
    for (int e = 0; e < 4; ++e) value.v[e] = activated_in<kPrecision>(p.activation, value.v[e]);
  }
  if (p.gate != nullptr) {
    const Four gate = load_four<kWhole>(p.gate + row * p.gate_stride + col, count);
#pragma unroll
    for (int e = 0; e < 4; ++e) value.v[e] *= gate.v[e];
  }
  if (p.residual != nullptr) {
    const Four residual = load_four<kWhole>(p.residual + row * p.residual_stride + col, count);
#pragma unroll
    for (int e = 0; e < 4; ++e) value.v[e] += residual.v[e];
  }
  if constexpr (kPrecision == Precision::bf16) {
    if (p.wide != nullptr) {
      const Four wide = load_four<kWhole>(p.wide + row * p.wide_stride + col, count);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        value.v[e] *= p.trained == Activation::gelu ? gelu_slope_short(wide.v[e])
                                                    : activation_slope(p.trained, wide.v[e]);
      }
    }
    if (p.active != nullptr) {
      // of what is kept, so that the backward pass goes through the same function
      Four active;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        active.v[e] = activated_in<kPrecision>(p.trained, bf16(value.v[e]));
      }
      store_four<kWhole>(active, p.active + row * p.active_stride + col, count);
    }
  }
  if (p.y_bf16 != nullptr) {
    store_four<kWhole>(value, p.y_bf16 + row * p.y_stride + col, count);
  } else {
    store_four<kWhole>(value, p.y + row * p.y_stride + col, count);
  }
}

// Tile `tile` of columns of the rows from first_row on, a warp's part after the other in slices: to
// shared memory, and from there in fours to y. `slices` has room for one slice of every warp;
// row_scales, of int8 and fp8, begins with the tile's first row.
template <Precision kPrecision, int kTile, int kSlice = 0, typename Math>
__device__ void finish_tile(const Product& p, const Math& math, const Place<kTile>& at,
                            float* slices, const float* row_scales, i64 first_row, int tile) {
  using At = Place<kTile>;
  constexpr bool kCodes = kPrecision == Precision::int8 || kPrecision == Precision::fp8;
  if constexpr (kSlice < Math::kSlices) {
    constexpr int kRows = slice_rows(At::kShape), kStride = slice_stride(At::kShape);
    constexpr int kFours = At::kWarpCols / 4;
    const int warp = static_cast<int>(threadIdx.x) / kWarp % At::kGrid;
    float* slice = slices + warp * (kRows * kStride);
    math.template put_slice<kSlice>(slice, kStride);
    __syncwarp();
#pragma unroll 1
    for (int i = at.lane; i < kRows * kFours; i += kWarp) {
      const int tile_row = at.row + kSlice * kRows + i / kFours;
      const int col = tile * At::kShape.cols + at.col + i % kFours * 4;
      const i64 row = first_row + tile_row;
      if (row >= p.rows || col >= p.outputs) continue;
      const Four value = load_four<true>(slice + i / kFours * kStride + i % kFours * 4, 4);
      float row_scale = 1.0f;
      if constexpr (kCodes) row_scale = row_scales[tile_row];
      if (p.in_fours) {
        finish_four<kPrecision, true>(p, value, row_scale, row, col);
      } else {
        finish_four<kPrecision, false>(p, value, row_scale, row, col);
      }
    }
    __syncwarp();
    finish_tile<kPrecision, kTile, kSlice + 1>(p, math, at, slices, row_scales, first_row, tile);
  }
}

}  // namespace

}  // namespace orrery::cuda
