#pragma once

// The matrix product of warpgroups whose chunks the bulk copy engine brings, for compute capability
// 9.0: rows that are ready in memory, bf16, int8 or fp8.
//
// A block has one tile of columns and walks down stripes of rows, gridDim.x apart. One thread of a
// warp of its own asks for chunks, `stages` of them ahead, over the ends of stripes too: while y is
// written the next stripe's come. A weight of no more chunks than there are stages comes once and
// stays (kept_chunks), a longer one chunk by chunk with x, for every stripe again. Two warpgroups
// multiply them, 64 rows each, with one chunk's products under way while the next one is waited
// for. What lies beyond the matrices comes as zeros, so that all chunks are whole.
//
// limits: products of tensor cores where inputs are many; else writing y, which both warpgroups do
// at the same time
//
// steady: a sum is taken in order of chunks

#include "device/cuda.h"
#include "device/ring.h"
#include "device/tma.h"
#include "ops/gemm_finish_device.h"
#include "ops/gemm_math_device.h"
#include "ops/gemm_pack.h"

namespace orrery::cuda {

namespace {

template <Precision kPrecision, int kTile>
struct BulkProduct {
  static constexpr ProductTile kShape = kProductTiles[kTile];
  static constexpr int kConsumers = kShape.threads() / kWarp - 1;  // warps
  static constexpr bool kCodes = kPrecision == Precision::int8 || kPrecision == Precision::fp8;
  static constexpr int kBytes = static_cast<int>(value_bytes(kPrecision));
  static constexpr int kRowBytes = kShape.rows * kChunkBytes;
  static constexpr int kColBytes = kShape.cols * kChunkBytes;
  static constexpr int kKept = kept_chunks(kShape);
  static_assert(kChunkBytes == static_cast<int>(kBoxBytes));
  using At = Place<kTile>;
  using Math = Warpgroups<kPrecision, kTile>;

  const Product& p;
  const int chunks, stripes, tile;
  const bool keep;
  std::byte *x, *weight;  // shared, `stages` of each
  float* slices;
  PhaseBarrier *full, *empty;  // of each stage

  __device__ BulkProduct(const Product& product, std::byte* shared)
      : p(product),
        chunks((product.inputs * kBytes + kChunkBytes - 1) / kChunkBytes),
        stripes((product.rows + kShape.rows - 1) / kShape.rows),
        tile(static_cast<int>(blockIdx.y)),
        keep(chunks <= kKept),
        x(shared),
        weight(x + kShape.stages * kRowBytes),
        slices(reinterpret_cast<float*>(weight + kShape.stages * kColBytes)),
        full(reinterpret_cast<PhaseBarrier*>(slices + At::kGrid * slice_rows(kShape) *
                                                          slice_stride(kShape))),
        empty(full + kShape.stages) {}

  __device__ std::byte* weight_of(int chunk, int stage) const {
    return weight + (keep ? chunk : stage) * kColBytes;
  }

  // calls body(stripe) for each stripe of the block
  template <typename Body>
  __device__ void each_stripe(const Body& body) const {
#pragma unroll 1
    for (int stripe = static_cast<int>(blockIdx.x); stripe < stripes;
         stripe += static_cast<int>(gridDim.x)) {
      body(stripe);
    }
  }

  // one thread
  __device__ void make_barriers() const {
    for (int stage = 0; stage < kShape.stages; ++stage) {
      init_barrier(full + stage, 1);
      init_barrier(empty + stage, kConsumers);
    }
    publish_barriers();
  }

  // one thread: asks for all chunks in turn
  __device__ void feed(const CUtensorMap& x_map, const CUtensorMap& weight_map) const {
    RingStep step;
    each_stripe([&](int stripe) {
#pragma unroll 1
      for (int chunk = 0; chunk < chunks; ++chunk) {
        PhaseBarrier* there = full + step.place;
        wait_phase(empty + step.place, step.empty_parity());
        // who waits for a chunk of the first stripe waits for the weight's too, and has it for good
        const bool with_weight = !keep || stripe == static_cast<int>(blockIdx.x);
        arrive_expecting(there, with_weight ? kRowBytes + kColBytes : kRowBytes);
        load_box(x + step.place * kRowBytes, x_map, chunk * kChunkBytes, stripe * kShape.rows,
                 there);
        if (with_weight) {
          load_box(weight_of(chunk, step.place), weight_map, chunk * kChunkBytes,
                   tile * kShape.cols, there);
        }
        step.advance(kShape.stages);
      }
    });
  }

  // two warpgroups
  __device__ void multiply() const {
    const At at(static_cast<int>(threadIdx.x));
    Math math(at);
    RingStep step;
    const auto give_back = [&](int stage) {
      __syncwarp();
      if (at.lane == 0) arrive(empty + stage);
    };
    each_stripe([&](int stripe) {
      int under_way = -1;  // the stage whose products are
#pragma unroll 1
      for (int chunk = 0; chunk < chunks; ++chunk) {
        wait_phase(full + step.place, step.full_parity());
        math.start(x + step.place * kRowBytes, weight_of(chunk, step.place));
        if (under_way >= 0) {
          math.template wait<1>();
          give_back(under_way);
        }
        under_way = step.place;
        step.advance(kShape.stages);
      }
      math.template wait<0>();
      give_back(under_way);
      const i64 first_row = static_cast<i64>(stripe) * kShape.rows;
      const float* row_scales = nullptr;
      if constexpr (kCodes) row_scales = p.row_scales + first_row;
      finish_tile<kPrecision, kTile>(p, math, at, slices, row_scales, first_row, tile);
      math.clear();
    });
  }
};

template <Precision kPrecision, int kTile>
__global__ void __launch_bounds__(kProductTiles[kTile].threads(), kProductTiles[kTile].blocks)
    bulk_product_kernel(const Product p, const __grid_constant__ CUtensorMap x_map,
                        const __grid_constant__ CUtensorMap weight_map) {
  const BulkProduct<kPrecision, kTile> product(p, pattern_start(dynamic_shared<std::byte>()));
  const int feeder = BulkProduct<kPrecision, kTile>::kConsumers * kWarp;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == feeder) {
    prefetch_map(x_map);
    prefetch_map(weight_map);
    product.make_barriers();
  }
  __syncthreads();
  if (thread < feeder) {
    product.multiply();
  } else if (thread == feeder) {
    product.feed(x_map, weight_map);
  }
}

template <Precision kPrecision, int kTile>
void launch_bulk(const Context& ctx, const ProductPlan& plan, const Product& p) {
  constexpr ProductTile kShape = kProductTiles[kTile];
  const i64 row_bytes = p.inputs * value_bytes(kPrecision);
  const CUtensorMap x = encoded(tensor_map_shape(p.x, row_bytes, p.rows, p.x_stride, kShape.rows));
  const CUtensorMap weight =
      encoded(tensor_map_shape(p.weight, row_bytes, p.outputs, p.weight_stride, kShape.cols));
  const ProductShape shape = {p.rows, p.outputs, p.inputs, kPrecision, plan.x};
  const Launch grid = {
      kShape.name, dim3(static_cast<unsigned>(plan.stripes), blocks_for(p.outputs, kShape.cols)),
      dim3(static_cast<unsigned>(kShape.threads())),
      static_cast<std::size_t>(product_shared_bytes(kShape, shape))};
  launch(ctx, grid, bulk_product_kernel<kPrecision, kTile>, p, x, weight);
}

}  // namespace

}  // namespace orrery::cuda
