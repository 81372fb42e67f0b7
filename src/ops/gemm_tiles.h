#pragma once

// Which shapes the CUDA matrix product comes in, and which one a product takes: plain functions, so
// that they are tested where there is no device.

#include <iterator>
#include <string>

#include "base/types.h"
#include "ops/precision.h"

namespace orrery {

// A block makes tiles of rows x cols of y. Its warps stand in a grid of row_warps x col_warps, each
// with its own part of the tile; depth_warps of such grids share the inputs of one tile and add up
// their parts in order at the end, so that products of few rows still use many warps.
struct ProductTile {
  const char* name;
  bool tensor_cores;  // mma.sync, for all precisions but f32, which runs on plain f32 units
  int rows, cols;
  int row_warps, col_warps, depth_warps;
  int stages;  // chunks of inputs in shared memory at a time: one in use, the others on their way
  int blocks;  // per multiprocessor, what registers are limited for
  // the part of the units' rate that the inner loop can reach: operands read per product, warps to
  // hide behind. An estimate from counted instructions, to be replaced when a device has measured
  double share;
  // products of warpgroups (wgmma) on compute capability 9.0, for bf16, int8 and fp8; a warp's part
  // is 16 rows of a warpgroup's 64
  bool warpgroups = false;
  // fed by the bulk copy engine, for which a block has a warp more: rows of x that are ready, and
  // that the engine takes (tensor_map.h)
  bool bulk = false;

  constexpr int threads() const {
    return 32 * (row_warps * col_warps * depth_warps + (bulk ? 1 : 0));
  }
};

// Best first. 192 columns: the width of the model, so that x is read once.
//
// blocks: also what their shared memory allows for bf16
//
// registers of sums per thread: (rows / row_warps) * (cols / col_warps) / 32, at most 96 of 255
inline constexpr ProductTile kProductTiles[] = {
    {"mma_128x192", true, 128, 192, 2, 4, 1, 3, 1, 0.60},
    {"mma_128x128", true, 128, 128, 2, 4, 1, 3, 2, 0.55},
    {"mma_64x64", true, 64, 64, 2, 2, 1, 4, 3, 0.40},
    {"mma_32x64", true, 32, 64, 1, 1, 4, 4, 2, 0.30},
    {"mma_16x32", true, 16, 32, 1, 1, 4, 4, 4, 0.15},
    // No device has run these two yet: they are taken only when asked for by name, until one has
    // shown them right and faster. The only way to fp8's and all of bf16's rate on Hopper.
    {"wgmma_128x192", true, 128, 192, 8, 1, 1, 3, 1, 0.75, true},
    {"wgmma_tma_128x192", true, 128, 192, 8, 1, 1, 4, 1, 0.85, true, true},
    {"simt_128x128", false, 128, 128, 4, 2, 1, 3, 1, 0.80},
    {"simt_64x64", false, 64, 64, 2, 2, 1, 3, 2, 0.65},
    {"simt_32x32", false, 32, 32, 2, 1, 4, 4, 2, 0.45},
    {"simt_16x32", false, 16, 32, 1, 1, 8, 4, 2, 0.30},
};
inline constexpr int kProductTileCount = static_cast<int>(std::size(kProductTiles));

// whether a precision has a tile at all
constexpr bool has_tile(const ProductTile& tile, Precision precision) {
  if (tile.warpgroups && precision == Precision::tf32) return false;  // x is rounded in registers
  return tile.tensor_cores == (precision != Precision::f32);
}

// Inputs go through shared memory in chunks of this many bytes per row: what one line of the cache
// holds, and eight pieces of 16 bytes, which the eight rows of a bank conflict can be spread over.
inline constexpr int kChunkBytes = 128;

// Where byte `byte` of row `row` of a chunk lies: rows after one another, and the 16-byte pieces of
// a row exchanged by its number, so that eight consecutive rows have piece c in eight different
// bank groups.
constexpr int chunk_place(int row, int byte, int key) {
  return row * kChunkBytes + (((byte >> 4) ^ (key & 7)) << 4) + (byte & 15);
}

// Where a block of the product finds its rows of x.
enum class Rows {
  ready,  // in memory, in the format of the weight
  kept,   // floats: the block prepares them (norm, conversion) and keeps them in shared memory
  apart,  // floats: a kernel of its own prepares them before, then they are ready
};

// Up to how many chunks of inputs a block of bulk copies has its part of the weight in shared
// memory for good: in the places of its stages.
constexpr int kept_chunks(const ProductTile& tile) { return tile.bulk ? tile.stages : 0; }

// One product as the choice sees it.
struct ProductShape {
  i64 rows = 0, outputs = 0, inputs = 0;
  Precision precision = Precision::f32;
  Rows x = Rows::ready;
  int floats_per_input = 1;  // that preparing reads: 1, or 3 when modulated
  bool x_in_boxes = true;    // whether the bulk copy engine takes ready rows
};

struct ProductDevice {
  int multiprocessors = 132;
  i64 shared_bytes = 227 * 1024;  // that one block can have
  bool warpgroups = false;        // whether wgmma and the engine are there: capability 9.0
};

struct ProductPlan {
  int tile = -1;  // -1: no tile can keep such rows
  Rows x = Rows::ready;
  int groups = 1;           // blocks that share the columns of one stripe of rows
  int stripes = 1;          // bulk: blocks that share the rows of one tile of columns
  double microseconds = 0;  // estimated
};

// Floats of one warp's part of a tile that the epilogue sees at a time: a slice of rows, which lies
// in shared memory so that y, gate and residual are met in whole lines. Each row is 8 floats longer
// than its columns: the four rows that half a warp writes at once then lie in different banks.
constexpr int slice_rows(const ProductTile& tile) { return tile.tensor_cores ? 8 : 4; }
constexpr int slice_stride(const ProductTile& tile) { return tile.cols / tile.col_warps + 8; }

// shared memory after the chunks: scales of the rows, slices of the epilogue, sums of the depth
// warps but the first, two barriers for each stage of bulk copies
constexpr int product_extra_bytes(const ProductTile& tile) {
  const int grid = tile.row_warps * tile.col_warps;
  return 4 * (tile.rows + grid * slice_rows(tile) * slice_stride(tile) +
              (tile.depth_warps - 1) * tile.rows * tile.cols) +
         (tile.bulk ? 16 * tile.stages : 0);
}

// dynamic shared memory of one block; wgmma's patterns of 1024 bytes begin at multiples of that,
// for which a block takes that much more
i64 product_shared_bytes(const ProductTile& tile, const ProductShape& shape);

// The tile with the smallest estimate, for rows that are as the shape says. `wanted`, when not
// empty, names one that is taken if the precision has it and it fits. Error when no tile has that
// name.
ProductPlan plan_product(const ProductShape& shape, const ProductDevice& device,
                         const std::string& wanted = {});

// The same for rows that must be prepared: kept or apart, whichever is estimated faster. A wanted
// name that ends in "_kept" wants those, another one rows prepared apart. Rows longer than
// kLongestKept: error, they are neither.
inline constexpr i64 kLongestKept = 512;
ProductPlan plan_prepared_product(ProductShape shape, const ProductDevice& device,
                                  const std::string& wanted = {});

// The tile asked for by use_product_tile, else by the environment variable ORRERY_CUDA_GEMM, else
// none. For tests and comparisons.
std::string wanted_product_tile();
void use_product_tile(const std::string& name);  // empty: none

// The kernel that this thread launched last, as "mma_64x64_bf16" or "mma_64x64_bf16_kept"; empty
// before the first.
const std::string& last_product();
void remember_product(const ProductPlan& plan, Precision precision);

}  // namespace orrery
