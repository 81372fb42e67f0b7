#pragma once

// Passes over [a, b, width] blocks whose rows are contiguous and lie anywhere: what copies,
// modulation and norms with given statistics share. A pass is a struct with
//
//   template <bool kAligned> __device__ void four(i64 i, i64 j, i64 k, i64 count) const
//
// which treats values [k, k + count) of row (i, j), count at most 4 (always 4 when aligned).

#include "ops/warp_device.h"

namespace orrery::cuda {

namespace {

// a warp has one segment of one row: four fours a lane amortise finding it, and rows of a few
// hundred values still give a block to every multiprocessor
constexpr i64 kSegment = 4 * 4 * kWarp;
constexpr int kRowWarps = 8;

// memory-bound: each value is read and written once, 512 contiguous bytes a warp at a time
template <bool kAligned, typename Pass>
__global__ void rows_kernel(Pass pass, i64 outer, i64 inner, i64 width) {
  const i64 segments = (width + kSegment - 1) / kSegment;
  const i64 index = static_cast<i64>(blockIdx.x) * kRowWarps + threadIdx.x / kWarp;
  if (index >= outer * inner * segments) return;
  const i64 row = index / segments;
  const i64 begin = (index - row * segments) * kSegment;
  const i64 end = begin + kSegment < width ? begin + kSegment : width;
  const i64 i = row / inner;
  const i64 j = row - i * inner;
  for (i64 k = begin + 4 * (threadIdx.x % kWarp); k < end; k += 4 * kWarp) {
    const i64 count = end - k < 4 ? end - k : 4;
    pass.template four<kAligned>(i, j, k, count);
  }
}

template <typename Pass>
void pass_over_rows(Context& ctx, const char* name, bool aligned, i64 outer, i64 inner, i64 width,
                    const Pass& pass) {
  const i64 segments = (width + kSegment - 1) / kSegment;
  const i64 warps = outer * inner * segments;
  if (warps == 0) return;
  const Launch shape = {name, dim3(blocks_for(warps, kRowWarps)), dim3(kRowWarps * kWarp)};
  const auto kernel = aligned ? rows_kernel<true, Pass> : rows_kernel<false, Pass>;
  launch(ctx, shape, kernel, pass, outer, inner, width);
}

}  // namespace

}  // namespace orrery::cuda
