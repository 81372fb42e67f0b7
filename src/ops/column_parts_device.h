#pragma once

// Sums over rows that come in parts: part p, a row of `width` numbers, is what some of the rows add
// to each column. A second kernel adds the parts in order, so results are steady.

#include "ops/warp_device.h"

namespace orrery::cuda {

namespace {

constexpr int kPartWarps = 16;

// to[c] += sum over p of parts[p, c]
//
// memory-bound: reads every part once, from the L2 cache where the kernel before has just left it.
// A block has 32 columns; its warps take parts in turn and meet in shared memory, in order.
__global__ void __launch_bounds__(kPartWarps* kWarp)
    add_parts_kernel(const float* parts, i64 count, i64 stride, i64 width, float* to) {
  __shared__ float sums[kPartWarps][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const i64 column = static_cast<i64>(blockIdx.x) * kWarp + lane;
  float sum = 0;
  for (i64 p = warp; column < width && p < count; p += kPartWarps)
    sum += parts[p * stride + column];
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || column >= width) return;
#pragma unroll
  for (int w = 1; w < kPartWarps; ++w) sum += sums[w][lane];
  to[column] += sum;
}

inline void add_parts(Context& ctx, const char* name, const float* parts, i64 count, i64 stride,
                      i64 width, float* to) {
  launch(ctx, {name, dim3(blocks_for(width, kWarp)), dim3(kPartWarps * kWarp)}, add_parts_kernel,
         parts, count, stride, width, to);
}

// How many rows one worker adds up: 2048 workers fill a large device, and their parts stay small
// beside what they are made from. A function of the number of rows alone.
inline i64 rows_per_part(i64 rows) { return (rows + 2047) / 2048; }
inline i64 part_count(i64 rows) { return (rows + rows_per_part(rows) - 1) / rows_per_part(rows); }

}  // namespace

}  // namespace orrery::cuda
