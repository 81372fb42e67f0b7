#pragma once

// The CUDA matrix product, one template for all precisions and tiles.
//
// A block has one stripe of rows and `group_tiles` tiles of columns. It walks through (tile, chunk
// of inputs) pairs; chunks come through shared memory by asynchronous copies, `stages` - 1 of them
// ahead of the products, over the ends of tiles too. Rows of x come in chunks as the weight does,
// or are prepared once and kept (kKept, gemm_rows_device.h).
//
// limits: products of tensor cores or f32 units for large sizes; second-level cache traffic where
// rows are few; launch and latency below about 64 rows
//
// steady: a sum is taken in order of chunks by each depth warp, and these are added in order

#include "device/cuda.h"
#include "ops/gemm_bulk_device.h"
#include "ops/gemm_finish_device.h"
#include "ops/gemm_math_device.h"
#include "ops/gemm_rows_device.h"

namespace orrery::cuda {

namespace {

// Copies one 16-byte piece of a row of values that may lie at any address and end within it.
template <int kBytes>
__device__ void copy_piece(std::byte* to, const std::byte* from, int bytes) {
  using Value = std::conditional_t<kBytes == 4, u32, std::conditional_t<kBytes == 2, u16, u8>>;
#pragma unroll
  for (int i = 0; i < 16 / kBytes; ++i) {
    reinterpret_cast<Value*>(to)[i] =
        i * kBytes < bytes ? reinterpret_cast<const Value*>(from)[i] : Value{0};
  }
}

// the units of a tile: plain, of warps, of warpgroups
template <Precision kPrecision, int kTile, bool kKept, bool kTensorCores, bool kWarpgroups>
struct MathOfUnits {
  using Type = TensorCores<kPrecision, kTile, kPrecision == Precision::tf32 && !kKept>;
};
template <Precision kPrecision, int kTile, bool kKept>
struct MathOfUnits<kPrecision, kTile, kKept, false, false> {
  using Type = PlainUnits<kTile>;
};
template <Precision kPrecision, int kTile, bool kKept>
struct MathOfUnits<kPrecision, kTile, kKept, true, true> {
  using Type = Warpgroups<kPrecision, kTile>;
};
template <Precision kPrecision, int kTile, bool kKept>
using MathOf = MathOfUnits<kPrecision, kTile, kKept, kProductTiles[kTile].tensor_cores,
                           kProductTiles[kTile].warpgroups>;

template <Precision kPrecision, int kTile, bool kKept>
struct ProductKernel {
  static constexpr ProductTile kShape = kProductTiles[kTile];
  static constexpr int kThreads = kShape.threads();
  static constexpr bool kCodes = kPrecision == Precision::int8 || kPrecision == Precision::fp8;
  static constexpr int kBytes = static_cast<int>(value_bytes(kPrecision));
  static constexpr int kRowBytes = kShape.rows * kChunkBytes;
  static constexpr int kColBytes = kShape.cols * kChunkBytes;
  static constexpr bool kPlain = kPrecision == Precision::f32;
  using At = Place<kTile>;
  using Math = typename MathOf<kPrecision, kTile, kKept>::Type;

  const Product& p;
  const i64 first_row;
  const int first_tile;
  const int chunks;
  std::byte *x, *weight;  // shared
  float *row_scales, *slices, *parts;

  __device__ ProductKernel(const Product& product, std::byte* shared)
      : p(product),
        first_row(static_cast<i64>(blockIdx.x) * kShape.rows),
        first_tile(static_cast<int>(blockIdx.y) * product.group_tiles),
        chunks((product.inputs * kBytes + kChunkBytes - 1) / kChunkBytes),
        x(shared),
        weight(x + (kKept ? chunks : kShape.stages) * kRowBytes),
        row_scales(reinterpret_cast<float*>(weight + kShape.stages * kColBytes)),
        slices(row_scales + kShape.rows),
        parts(slices + At::kGrid * slice_rows(kShape) * slice_stride(kShape)) {}

  // Asks for chunk `chunk` of tile `tile`. A thread has one of the eight pieces of every kStep-th
  // row.
  __device__ void fetch(int tile, int chunk, int stage) const {
    constexpr int kStep = kThreads / 8;
    const int first = static_cast<int>(threadIdx.x) / 8;
    const int byte = static_cast<int>(threadIdx.x) % 8 * 16;
    const i64 begin = static_cast<i64>(chunk) * kChunkBytes + byte;
    if constexpr (!kKept) {
      std::byte* to = x + stage * kRowBytes;
      const std::byte* from = p.x + (first_row + first) * p.x_stride + begin;
      const int left = p.inputs * kBytes - static_cast<int>(begin);
      const int rows_left = p.rows - static_cast<int>(first_row);
#pragma unroll
      for (int row = first; row < kShape.rows; row += kStep, from += kStep * p.x_stride) {
        const bool there = row < rows_left && left > 0;
        std::byte* place = to + chunk_place(row, byte, row);
        if (!there || (p.x_aligned && left >= 16)) {
          cp_async_16(place, there ? from : p.x, there);
        } else {
          copy_piece<kBytes>(place, from, left);
        }
      }
    }
    std::byte* to = weight + stage * kColBytes;
    const i64 first_col = static_cast<i64>(tile) * kShape.cols;
    const std::byte* from = p.weight + (first_col + first) * p.weight_stride + begin;
    const int cols_left = begin < p.weight_stride ? p.outputs - static_cast<int>(first_col) : 0;
#pragma unroll
    for (int col = first; col < kShape.cols; col += kStep, from += kStep * p.weight_stride) {
      const bool there = col < cols_left;
      cp_async_16(to + chunk_place(col, byte, kPlain ? col / 4 : col), there ? from : p.weight,
                  there);
    }
  }

  // adds the depth warps' sums to those of the first, in order
  __device__ void gather(Math& math, const At& at) const {
    const int place = static_cast<int>(threadIdx.x) % (At::kGrid * kWarp);
    auto* mine = reinterpret_cast<typename Math::Sum*>(parts) + place;
    constexpr int kStep = At::kGrid * kWarp;
    if (at.depth > 0) {
#pragma unroll
      for (int i = 0; i < Math::kSums; ++i) {
        mine[((at.depth - 1) * Math::kSums + i) * kStep] = math.sum(i);
      }
    }
    __syncthreads();
    if (at.depth > 0) return;
#pragma unroll
    for (int i = 0; i < Math::kSums; ++i) {
#pragma unroll
      for (int d = 0; d + 1 < kShape.depth_warps; ++d) {
        math.sum(i) += mine[(d * Math::kSums + i) * kStep];
      }
    }
  }

  // warpgroups read shared memory by another way than threads write it
  __device__ static void publish() {
    if constexpr (kShape.warpgroups) wgmma_publish();
  }

  __device__ void run() const {
    const int all_tiles = (p.outputs + kShape.cols - 1) / kShape.cols;
    const int tiles = min(p.group_tiles, all_tiles - first_tile);
    const int steps = tiles * chunks;
    int next_tile = first_tile, next_chunk = 0;  // what is fetched next
    const auto fetch_next = [&](int step) {
      if (step < steps) {
        fetch(next_tile, next_chunk, step % kShape.stages);
        if (++next_chunk == chunks) {
          next_chunk = 0;
          ++next_tile;
        }
      }
      cp_async_commit();
    };
#pragma unroll 1
    for (int step = 0; step < kShape.stages - 1; ++step) fetch_next(step);
    if constexpr (kKept) {
      // the first barrier below makes the rows everybody's
      keep_rows<kPrecision, kTile>(p, first_row, x, row_scales);
    }

    const At at(static_cast<int>(threadIdx.x));
    Math math(at);
    int tile = first_tile, chunk = 0;
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      cp_async_wait<kShape.stages - 2>();
      publish();
      __syncthreads();  // the chunk is there, and nobody reads the one that is overwritten now
      fetch_next(step + kShape.stages - 1);
      const int stage = step % kShape.stages;
      const int left = (p.inputs * kBytes - chunk * kChunkBytes + 31) / 32;
      math.multiply(x + (kKept ? chunk : stage) * kRowBytes, weight + stage * kColBytes,
                    min(left, kChunkBytes / 32));
      if (++chunk < chunks) continue;

      if constexpr (kShape.depth_warps > 1) gather(math, at);
      if (at.depth == 0) {
        const float* scales = row_scales;
        if constexpr (kCodes && !kKept) scales = p.row_scales + first_row;
        finish_tile<kPrecision, kTile>(p, math, at, slices, scales, first_row, tile);
      }
      math.clear();
      chunk = 0;
      ++tile;
    }
    cp_async_wait<0>();
  }
};

template <Precision kPrecision, int kTile, bool kKept>
__global__ void __launch_bounds__(kProductTiles[kTile].threads(), kProductTiles[kTile].blocks)
    product_kernel(const Product p) {
  std::byte* shared = dynamic_shared<std::byte>();
  if constexpr (kProductTiles[kTile].warpgroups) shared = pattern_start(shared);
  const ProductKernel<kPrecision, kTile, kKept> kernel(p, shared);
  kernel.run();
}

template <Precision kPrecision, int kTile, bool kKept>
void launch_product(const Context& ctx, const ProductPlan& plan, const Product& product) {
  constexpr ProductTile kShape = kProductTiles[kTile];
  const ProductShape shape = {product.rows, product.outputs, product.inputs, kPrecision, plan.x};
  const Launch grid = {
      kShape.name, dim3(blocks_for(product.rows, kShape.rows), static_cast<unsigned>(plan.groups)),
      dim3(static_cast<unsigned>(kShape.threads())),
      static_cast<std::size_t>(product_shared_bytes(kShape, shape))};
  launch(ctx, grid, product_kernel<kPrecision, kTile, kKept>, product);
}

template <Precision kPrecision, int kTile = 0>
void launch_tile(const Context& ctx, const ProductPlan& plan, const Product& product) {
  if constexpr (kTile < kProductTileCount) {
    if constexpr (has_tile(kProductTiles[kTile], kPrecision)) {
      if (plan.tile == kTile) {
        if constexpr (kProductTiles[kTile].bulk) {
          return launch_bulk<kPrecision, kTile>(ctx, plan, product);
        } else {
          return plan.x == Rows::kept
                     ? launch_product<kPrecision, kTile, true>(ctx, plan, product)
                     : launch_product<kPrecision, kTile, false>(ctx, plan, product);
        }
      }
    }
    launch_tile<kPrecision, kTile + 1>(ctx, plan, product);
  }
}

// memory-bound: reads x (and shift and scale) once, writes the format's rows; one warp a row
constexpr int kPrepareWarps = 4;
template <Precision kPrecision>
__global__ void __launch_bounds__(kPrepareWarps* kWarp)
    prepare_rows_kernel(const Product p, std::byte* values, i64 stride, float* scales) {
  const i64 first_row = static_cast<i64>(blockIdx.x) * kPrepareWarps;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  prepare_rows<kPrepareWarps, 1>(p, first_row, kPrepareWarps, [&](int row, const auto& of_row) {
    if (first_row + row >= p.rows) return;  // the whole warp
    std::byte* to = values + (first_row + row) * stride;
    put_row<kPrecision>(
        of_row, p.inputs, lane, 16, [&](int byte) { return to + byte; }, scales + first_row + row);
  });
}

}  // namespace

template <Precision kPrecision>
void run_product(const Context& ctx, const ProductPlan& plan, const Product& product) {
  launch_tile<kPrecision>(ctx, plan, product);
}

template <Precision kPrecision>
void run_prepare(const Context& ctx, const Product& product, const PreparedRows& to) {
  launch(ctx,
         {"linear: preparing rows", dim3(blocks_for(product.rows, kPrepareWarps)),
          dim3(kPrepareWarps * kWarp)},
         prepare_rows_kernel<kPrecision>, product, to.values, to.stride, to.scales);
}

}  // namespace orrery::cuda
