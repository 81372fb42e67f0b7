#pragma once

// The inner part of the matrix product: a warp's part of a tile in registers, and how a chunk of
// inputs in shared memory is multiplied into it. Two kinds with one interface:
//
//   Sum sum(i)                      of kSums; all 0 after clear()
//   multiply(x, weight, steps)      adds what `steps` steps of 32 bytes of a chunk give
//   kSlices, slice_row(s)           slices of slice_rows() rows, as the epilogue wants them
//   put_slice<s>(to, stride)        writes slice s to shared memory

#include "device/ptx.h"
#include "device/wgmma.h"
#include "ops/gemm_tiles.h"
#include "ops/warp_device.h"

namespace orrery::cuda {

// where a thread stands in its tile's grid of warps
template <int kTile>
struct Place {
  static constexpr ProductTile kShape = kProductTiles[kTile];
  static constexpr int kGrid = kShape.row_warps * kShape.col_warps;
  static constexpr int kWarpRows = kShape.rows / kShape.row_warps;
  static constexpr int kWarpCols = kShape.cols / kShape.col_warps;

  int lane, depth, row, col;  // row, col: where the warp's part of the tile begins
  __device__ explicit Place(int thread)
      : lane(thread % kWarp),
        depth(thread / kWarp / kGrid),
        row(thread / kWarp % kGrid / kShape.col_warps * kWarpRows),
        col(thread / kWarp % kShape.col_warps * kWarpCols) {}
};

// mma.sync: sub-tiles of 16 rows and 8 columns, 32 bytes of inputs at a time. The pieces of
// registers are the same for all formats (ptx.h), so the format shows in one call only.
// kRound: x holds floats that are still to be rounded to tf32.
template <Precision kPrecision, int kTile, bool kRound>
class TensorCores {
  using At = Place<kTile>;
  static constexpr int kRowTiles = At::kWarpRows / 16;
  static constexpr int kColTiles = At::kWarpCols / 8;
  // steps at a time: where 64 sums meet a limit of 128 registers, or fp8, which Hopper's mma.sync
  // takes by way of f16, needs its own, more would spill
  static constexpr int kUnrolled = kPrecision == Precision::fp8                               ? 1
                                   : kRowTiles * kColTiles * 4 >= 64 && At::kShape.blocks > 1 ? 2
                                                                                              : 4;

 public:
  using Sum = std::conditional_t<kPrecision == Precision::int8, i32, float>;
  static constexpr int kSums = kRowTiles * kColTiles * 4;
  static constexpr int kSlices = 2 * kRowTiles;

  __device__ explicit TensorCores(const At& at) : at_(at) { clear(); }
  __device__ Sum& sum(int i) { return sums_[i / 4][i % 4]; }
  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kSums; ++i) sum(i) = 0;
  }

  __device__ void multiply(const std::byte* x, const std::byte* weight, int steps) {
#pragma unroll(kUnrolled)
    for (int first = 0; first < kChunkBytes / 32; first += At::kShape.depth_warps) {
      const int step = first + at_.depth;
      if (step >= steps) break;
      u32 a[kRowTiles][4];
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        const int row = at_.row + i * 16 + at_.lane % 16;
        ldmatrix_x4(a[i], x + chunk_place(row, step * 32 + at_.lane / 16 * 16, row));
        if constexpr (kRound) {
#pragma unroll
          for (u32& part : a[i]) part = to_tf32(__uint_as_float(part));
        }
      }
      // two sub-tiles of columns at a time: both halves of the first, then of the second
#pragma unroll
      for (int j = 0; j < kColTiles; j += 2) {
        const int col = at_.col + j * 8 + at_.lane / 16 * 8 + at_.lane % 8;
        u32 b[4];
        ldmatrix_x4(b, weight + chunk_place(col, step * 32 + at_.lane / 8 % 2 * 16, col));
        const u32 left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
#pragma unroll
        for (int i = 0; i < kRowTiles; ++i) {
          multiply_add(sums_[i * kColTiles + j], a[i], left);
          multiply_add(sums_[i * kColTiles + j + 1], a[i], right);
        }
      }
    }
  }

  template <int kSlice>
  __device__ void put_slice(float* to, int stride) const {
    constexpr int kHalf = kSlice % 2 * 2;  // the upper or the lower eight rows of a sub-tile
#pragma unroll
    for (int j = 0; j < kColTiles; ++j) {
      const Sum(&part)[4] = sums_[kSlice / 2 * kColTiles + j];
      *reinterpret_cast<float2*>(to + at_.lane / 4 * stride + j * 8 + at_.lane % 4 * 2) =
          make_float2(static_cast<float>(part[kHalf]), static_cast<float>(part[kHalf + 1]));
    }
  }

 private:
  __device__ static void multiply_add(Sum (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    if constexpr (kPrecision == Precision::tf32) {
      mma_m16n8k8_tf32(d, a, b);
    } else if constexpr (kPrecision == Precision::bf16) {
      mma_m16n8k16_bf16(d, a, b);
    } else if constexpr (kPrecision == Precision::int8) {
      mma_m16n8k32_s8(d, a, b);
    } else {
      mma_m16n8k32_e4m3(d, a, b);
    }
  }

  const At& at_;
  Sum sums_[kRowTiles * kColTiles][4];
};

// wgmma: a warpgroup has 64 rows and all 192 columns, and both factors come from shared memory as
// they lie there. To a warp its sums look like those of 24 sub-tiles of mma.sync.
template <Precision kPrecision, int kTile>
class Warpgroups {
  using At = Place<kTile>;
  static constexpr int kColTiles = At::kWarpCols / 8;
  static_assert(At::kWarpRows == 16 && kColTiles == 24);

 public:
  using Sum = std::conditional_t<kPrecision == Precision::int8, i32, float>;
  static constexpr int kSums = kColTiles * 4;
  static constexpr int kSlices = 2;

  __device__ explicit Warpgroups(const At& at) : at_(at) { clear(); }
  __device__ Sum& sum(int i) { return sums_[i / 4][i % 4]; }
  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kSums; ++i) sum(i) = 0;
  }

  __device__ void multiply(const std::byte* x, const std::byte* weight, int) {
    start(x, weight);
    wait<0>();
  }

  // All steps of a chunk, as one group of products: behind the inputs both factors are zeros, and a
  // branch here would make the compiler wait after every product.
  __device__ void start(const std::byte* x, const std::byte* weight) {
    const std::byte* group = x + at_.row / 64 * 64 * kChunkBytes;
    const u64 a = wgmma_descriptor(shared_address(group));
    const u64 b = wgmma_descriptor(shared_address(weight));
    wgmma_hold(sums_);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kChunkBytes / 32; ++step) {
      multiply_add(sums_, a + 2 * step, b + 2 * step);  // 32 bytes on, counted in 16
    }
    wgmma_commit();
  }
  // until no more than kPending chunks are under way
  template <int kPending>
  __device__ void wait() {
    wgmma_wait<kPending>();
    if constexpr (kPending == 0) wgmma_hold(sums_);
  }

  template <int kSlice>
  __device__ void put_slice(float* to, int stride) const {
#pragma unroll
    for (int j = 0; j < kColTiles; ++j) {
      *reinterpret_cast<float2*>(to + at_.lane / 4 * stride + j * 8 + at_.lane % 4 * 2) =
          make_float2(static_cast<float>(sums_[j][2 * kSlice]),
                      static_cast<float>(sums_[j][2 * kSlice + 1]));
    }
  }

 private:
  __device__ static void multiply_add(Sum (&d)[kColTiles][4], u64 a, u64 b) {
    if constexpr (kPrecision == Precision::bf16) {
      wgmma_bf16(d, a, b);
    } else if constexpr (kPrecision == Precision::int8) {
      wgmma_s8(d, a, b);
    } else {
      wgmma_e4m3(d, a, b);
    }
  }

  const At& at_;
  Sum sums_[kColTiles][4];
};

// Plain fused multiply-adds in f32. The lanes of a warp stand 4 by 8, each with kRows rows, four
// apart, and kCols columns in fours, 32 apart. Per four inputs a thread reads kRows + kCols pieces
// of 16 bytes for 4 kRows kCols multiply-adds: 16 for 256 in the largest tile, where the
// multiply-adds take longer.
template <int kTile>
class PlainUnits {
  using At = Place<kTile>;
  static constexpr int kRows = At::kWarpRows / 4;
  static constexpr int kCols = At::kWarpCols / 8;
  static_assert(kCols % 4 == 0);

 public:
  using Sum = float;
  static constexpr int kSums = kRows * kCols;
  static constexpr int kSlices = kRows;

  __device__ explicit PlainUnits(const At& at) : at_(at) { clear(); }
  __device__ Sum& sum(int i) { return sums_[i / kCols][i % kCols]; }
  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kSums; ++i) sum(i) = 0;
  }

  __device__ void multiply(const std::byte* x, const std::byte* weight, int steps) {
    const int row = at_.row + at_.lane / 8;
    const int col = at_.col + at_.lane % 8 * 4;
    // not unrolled: one round is 256 multiply-adds already
#pragma unroll 1
    for (int piece = at_.depth; piece < 2 * steps; piece += At::kShape.depth_warps) {
      float4 b[kCols];
#pragma unroll
      for (int j = 0; j < kCols; ++j) b[j] = weight_piece(weight, col + j / 4 * 32 + j % 4, piece);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const float4 a =
            *reinterpret_cast<const float4*>(x + chunk_place(row + 4 * i, piece * 16, row + 4 * i));
#pragma unroll
        for (int j = 0; j < kCols; ++j) {
          float& s = sums_[i][j];
          s = fmaf(a.x, b[j].x, s);
          s = fmaf(a.y, b[j].y, s);
          s = fmaf(a.z, b[j].z, s);
          s = fmaf(a.w, b[j].w, s);
        }
      }
    }
  }

  template <int kSlice>
  __device__ void put_slice(float* to, int stride) const {
#pragma unroll
    for (int j = 0; j < kCols; j += 4) {
      const float(&s)[kCols] = sums_[kSlice];
      *reinterpret_cast<float4*>(to + at_.lane / 8 * stride + j / 4 * 32 + at_.lane % 8 * 4) =
          make_float4(s[j], s[j + 1], s[j + 2], s[j + 3]);
    }
  }

 private:
  // eight neighbouring lanes want columns four apart: the key counts fours
  __device__ static float4 weight_piece(const std::byte* weight, int col, int piece) {
    return *reinterpret_cast<const float4*>(weight + chunk_place(col, piece * 16, col / 4));
  }

  const At& at_;
  float sums_[kRows][kCols];
};

}  // namespace orrery::cuda
