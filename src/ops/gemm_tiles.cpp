#include "ops/gemm_tiles.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "device/wgmma_layout.h"
#include "ops/gemm_pack.h"

namespace orrery {

namespace {

i64 pieces(i64 count, i64 size) { return (count + size - 1) / size; }

// What one multiprocessor of an H100 does in a microsecond, from the published figures over 132:
// 989 TFLOP/s of dense bf16 products, 67 of f32; 5.5 TB/s from the second-level cache (measured by
// others).
constexpr double kBf16PerMicrosecond = 7.5e6;
constexpr double kF32PerMicrosecond = 0.5e6;
constexpr double kBytesPerMicrosecond = 42e3;
// a trip to the cache and back, and a launch's start and end within a captured graph
constexpr double kTrip = 0.7, kStart = 2.0;

double rate(Precision precision, bool warpgroups) {
  switch (precision) {
    case Precision::f32:
      return kF32PerMicrosecond;
    case Precision::tf32:
      return kBf16PerMicrosecond / 2;
    case Precision::bf16:
      return kBf16PerMicrosecond;
    case Precision::int8:
      return kBf16PerMicrosecond * 2;
    case Precision::fp8:
      // mma.sync converts it to f16 first
      return kBf16PerMicrosecond * (warpgroups ? 2.0 : 0.75);
  }
  return kF32PerMicrosecond;
}

// what is read to prepare rows of x
double prepared_bytes(const ProductShape& shape, i64 rows) {
  return 4.0 * static_cast<double>(rows * shape.inputs * shape.floats_per_input);
}

// Blocks that walk down the rows of each tile of columns when copies are bulk: what fills the chip
// once.
i64 stripes_of(const ProductTile& tile, const ProductShape& shape, const ProductDevice& device) {
  const i64 col_tiles = pieces(shape.outputs, tile.cols);
  return std::min(pieces(shape.rows, tile.rows),
                  std::max<i64>(1, device.multiprocessors / col_tiles));
}

// Time of the whole product when `groups` blocks share the columns of a stripe of rows.
double estimate(const ProductTile& tile, const ProductShape& shape, const ProductDevice& device,
                i64 groups) {
  const i64 row_bytes = shape.inputs * value_bytes(shape.precision);
  const i64 chunks = pieces(row_bytes, kChunkBytes);
  const i64 col_tiles = pieces(shape.outputs, tile.cols);
  const i64 blocks = pieces(shape.rows, tile.rows) * groups;
  // blocks that one multiprocessor gets, and how many of them it runs side by side
  const i64 turns = pieces(blocks, device.multiprocessors);
  const i64 beside =
      std::min<i64>({turns, tile.blocks,
                     std::max<i64>(1, device.shared_bytes / product_shared_bytes(tile, shape))});

  const double operations =
      2.0 * tile.rows * tile.cols * kChunkBytes / static_cast<double>(value_bytes(shape.precision));
  const bool keeps = chunks <= kept_chunks(tile);
  const double bytes = kChunkBytes * static_cast<double>((keeps ? 0 : tile.cols) +
                                                         (shape.x == Rows::kept ? 0 : tile.rows));
  const double busy = std::max(operations / (rate(shape.precision, tile.warpgroups) * tile.share),
                               bytes / kBytesPerMicrosecond);
  const double chunk = std::max(busy, kTrip / (tile.stages - 1) / static_cast<double>(beside));
  const double prepared =
      shape.x == Rows::kept ? prepared_bytes(shape, tile.rows) / kBytesPerMicrosecond : 0.0;
  const i64 tiles = pieces(col_tiles, groups);
  // every tile ends with a trip for what the epilogue reads
  const double one_tile = static_cast<double>(chunks) * chunk + kTrip / static_cast<double>(beside);
  double time = kStart + kTrip;
  if (tile.bulk) {
    // a block's stripes follow each other, and there may be more tiles of columns than fit at once
    const i64 stripes = stripes_of(tile, shape, device);
    if (keeps) {
      time += static_cast<double>(chunks * tile.cols * kChunkBytes) / kBytesPerMicrosecond;
    }
    time += static_cast<double>(pieces(stripes * col_tiles, device.multiprocessors) *
                                pieces(pieces(shape.rows, tile.rows), stripes)) *
            one_tile;
  } else {
    time += static_cast<double>(turns) * (prepared + static_cast<double>(tiles) * one_tile);
  }
  if (shape.x == Rows::apart) {
    time += kStart + 2 * kTrip +
            prepared_bytes(shape, shape.rows) / (kBytesPerMicrosecond * device.multiprocessors);
  }
  return time;
}

// a wanted name without what it says of rows
std::string_view tile_of(std::string_view wanted) {
  constexpr std::string_view kSuffix = "_kept";
  if (wanted.size() < kSuffix.size()) return wanted;
  const std::size_t rest = wanted.size() - kSuffix.size();
  return wanted.substr(rest) == kSuffix ? wanted.substr(0, rest) : wanted;
}

struct Choice {
  std::string tile;
  bool from_environment = true;
};
Choice& choice() {
  static thread_local Choice instance;
  return instance;
}

std::string& last() {
  static thread_local std::string name;
  return name;
}

}  // namespace

i64 product_shared_bytes(const ProductTile& tile, const ProductShape& shape) {
  const i64 chunks = pieces(shape.inputs * value_bytes(shape.precision), kChunkBytes);
  const i64 x = tile.rows * kChunkBytes * (shape.x == Rows::kept ? chunks : tile.stages);
  const i64 weight = static_cast<i64>(tile.cols) * kChunkBytes * tile.stages;
  return x + weight + product_extra_bytes(tile) + (tile.warpgroups ? kWgmmaPattern : 0);
}

ProductPlan plan_product(const ProductShape& shape, const ProductDevice& device,
                         const std::string& wanted) {
  ProductPlan best, asked;
  bool known = wanted.empty();
  for (int t = 0; t < kProductTileCount; ++t) {
    const ProductTile& tile = kProductTiles[t];
    const bool named = tile_of(wanted) == tile.name;
    known = known || named;
    if (!has_tile(tile, shape.precision)) continue;
    if (tile.warpgroups && !(device.warpgroups && named)) continue;
    if (tile.bulk && (shape.x == Rows::kept || !shape.x_in_boxes)) continue;
    if (product_shared_bytes(tile, shape) > device.shared_bytes) continue;
    const i64 col_tiles = pieces(shape.outputs, tile.cols);
    // rows that a block keeps are worth several tiles of columns; others are read for each anyway
    for (i64 groups = col_tiles; groups >= 1; --groups) {
      if (shape.x != Rows::kept && groups != col_tiles) break;
      const double time = estimate(tile, shape, device, groups);
      const i64 stripes = tile.bulk ? stripes_of(tile, shape, device) : 1;
      const ProductPlan plan = {t, shape.x, static_cast<int>(groups), static_cast<int>(stripes),
                                time};
      if (best.tile < 0 || time < best.microseconds) best = plan;
      if (named && (asked.tile < 0 || time < asked.microseconds)) asked = plan;
    }
  }
  check(known, "ORRERY_CUDA_GEMM: there is no matrix kernel \"", wanted, "\"");
  return asked.tile >= 0 ? asked : best;
}

ProductPlan plan_prepared_product(ProductShape shape, const ProductDevice& device,
                                  const std::string& wanted) {
  check(shape.inputs <= kLongestKept, "linear: rows of ", shape.inputs,
        " inputs are not prepared by kernels, at most ", kLongestKept, " are");
  shape.x = Rows::kept;
  const ProductPlan kept = plan_product(shape, device, wanted);
  shape.x = Rows::apart;
  const ProductPlan apart = plan_product(shape, device, wanted);
  if (kept.tile < 0) return apart;
  if (!wanted.empty()) return tile_of(wanted) == wanted ? apart : kept;
  return kept.microseconds <= apart.microseconds ? kept : apart;
}

std::string wanted_product_tile() {
  if (!choice().from_environment) return choice().tile;
  const char* given = std::getenv("ORRERY_CUDA_GEMM");
  return given == nullptr ? "" : given;
}

void use_product_tile(const std::string& name) { choice() = {name, name.empty()}; }

const std::string& last_product() { return last(); }

void remember_product(const ProductPlan& plan, Precision precision) {
  last() = text(kProductTiles[plan.tile].name, "_", name_of(precision),
                plan.x == Rows::kept ? "_kept" : "");
}

}  // namespace orrery
