#pragma once

// What attention's kernels of the tensor cores share, forward and backward.

#include "device/ptx.h"
#include "ops/attention_device.h"

namespace orrery::cuda {

constexpr int kMmaThreads = 4 * kWarp;
constexpr float kLog2E = 1.44269504f;

// rows of kDim + 8 elements: the eight rows that ldmatrix reads together lie in different banks
template <int kDim>
constexpr int kStride = kDim + 8;

// Rows [first, first + kRows) of `count` rows to shared memory, zeros where there is nothing.
// Aligned rows of bf16 are copied asynchronously: a commit and a wait are the caller's.
template <int kRows, int kDim, bool kAligned>
__device__ inline void load_bf16(const PairRows<const bf16>& rows, i64 first, i64 count, i64 dim,
                                 bf16* tile) {
  constexpr int kPieces = kDim / 8;
  for (int n = static_cast<int>(threadIdx.x); n < kRows * kPieces; n += kMmaThreads) {
    const int row = n / kPieces, column = n % kPieces * 8;
    const bool valid = first + row < count && column < dim;
    const bf16* from = rows[valid ? first + row : 0] + (valid ? column : 0);
    bf16* to = tile + row * kStride<kDim> + column;
    if constexpr (kAligned) {
      cp_async_16(to, from, valid);
    } else {
      const i64 left = valid ? dim - column : 0;
      store_four<true>(load_four<false>(from, left), to, 4);
      store_four<true>(load_four<false>(from + 4, left - 4), to + 4, 4);
    }
  }
}

// The same of floats, which are rounded.
template <int kRows, int kDim, bool kAligned>
__device__ inline void load_bf16(const PairRows<const float>& rows, i64 first, i64 count, i64 dim,
                                 bf16* tile) {
  constexpr int kFours = kDim / 4;
#pragma unroll
  for (int n = static_cast<int>(threadIdx.x); n < kRows * kFours; n += kMmaThreads) {
    const int row = n / kFours, column = n % kFours * 4;
    Four four = {};
    if (first + row < count && column < dim) {
      four = load_four<kAligned>(rows[first + row] + column, dim - column);
    }
    *reinterpret_cast<uint2*>(tile + row * kStride<kDim> + column) =
        make_uint2(pack_bf16(four.v[0], four.v[1]), pack_bf16(four.v[2], four.v[3]));
  }
}

// two neighbours of a row of `dim` values, at an even column
template <bool kAligned>
__device__ inline void store_pair(float low, float high, bf16* row, int column, i64 dim) {
  if constexpr (kAligned) {
    if (column < dim) *reinterpret_cast<u32*>(row + column) = pack_bf16(low, high);
  } else {
    if (column < dim) row[column] = bf16(low);
    if (column + 1 < dim) row[column + 1] = bf16(high);
  }
}
template <bool kAligned>
__device__ inline void store_pair(float low, float high, float* row, int column, i64 dim) {
  if constexpr (kAligned) {
    if (column < dim) *reinterpret_cast<float2*>(row + column) = make_float2(low, high);
  } else {
    if (column < dim) row[column] = low;
    if (column + 1 < dim) row[column + 1] = high;
  }
}

}  // namespace orrery::cuda
