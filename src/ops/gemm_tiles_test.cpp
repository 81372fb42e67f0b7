#include "ops/gemm_tiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "device/wgmma_layout.h"
#include "ops/gemm_pack.h"

namespace orrery {
namespace {

constexpr Precision kAll[] = {Precision::f32, Precision::tf32, Precision::bf16, Precision::int8,
                              Precision::fp8};

TEST(ProductTiles, ChunksLieInPlacesOfTheirOwn) {
  // with both keys that kernels use every byte of a chunk has one place, inside it
  for (const int divisor : {1, 4}) {
    std::set<int> places;
    for (int row = 0; row < 64; ++row) {
      for (int byte = 0; byte < kChunkBytes; ++byte) {
        places.insert(chunk_place(row, byte, row / divisor));
      }
    }
    EXPECT_EQ(places.size(), 64u * kChunkBytes);
    EXPECT_EQ(*places.begin(), 0);
    EXPECT_EQ(*places.rbegin(), 64 * kChunkBytes - 1);
  }
}

// eight lanes that read 16 bytes each are served at once when their pieces lie in different groups
// of four of the 32 banks
bool without_conflict(const std::vector<int>& places) {
  std::set<int> groups;
  for (const int place : places) groups.insert(place / 16 % 8);
  return groups.size() == places.size();
}

TEST(ProductTiles, ReadsMeetDifferentBanks) {
  for (int piece = 0; piece < 8; ++piece) {
    for (int base = 0; base < 64; base += 4) {
      std::vector<int> rows, fours, lanes_of_four;
      // tensor cores: eight rows in turn (bases are multiples of 8); plain units: four rows of x in
      // turn, eight columns four apart
      for (int i = 0; i < 8; ++i) {
        rows.push_back(chunk_place(base / 8 * 8 + i, piece * 16, base / 8 * 8 + i));
        const int col = base + 4 * i;
        fours.push_back(chunk_place(col, piece * 16, col / 4));
        if (i < 4) lanes_of_four.push_back(chunk_place(base + i, piece * 16, base + i));
      }
      EXPECT_TRUE(without_conflict(rows));
      EXPECT_TRUE(without_conflict(fours));
      EXPECT_TRUE(without_conflict(lanes_of_four));
    }
  }
}

TEST(ProductTiles, SlicesAreWrittenWithoutConflict) {
  for (const ProductTile& tile : kProductTiles) {
    const int stride = slice_stride(tile);
    EXPECT_EQ(stride % 4, 0) << tile.name;  // rows begin at multiples of 16 bytes
    if (!tile.tensor_cores) continue;
    // half a warp writes 8 bytes a lane: four of the eight rows, four pairs of columns
    std::set<int> banks;
    for (int lane = 0; lane < 16; ++lane) {
      for (int e = 0; e < 2; ++e) banks.insert((lane / 4 * stride + lane % 4 * 2 + e) % 32);
    }
    EXPECT_EQ(banks.size(), 32u) << tile.name;
  }
}

TEST(ProductTiles, FitTheirDevice) {
  for (const ProductTile& tile : kProductTiles) {
    // a block of Ampere has 163 KiB at most, of Hopper 227; a multiprocessor 65536 registers
    const i64 most = (tile.warpgroups ? 227 : 163) * 1024;
    EXPECT_LE(product_shared_bytes(tile, {1, 1, 192, Precision::tf32}), most) << tile.name;
    EXPECT_LE(tile.threads(), 1024);
    const int sums = tile.rows * tile.cols / (32 * tile.row_warps * tile.col_warps);
    EXPECT_LE(sums, 96) << tile.name;
  }
}

TEST(ProductTiles, EverySizeHasOne) {
  for (const Precision precision : kAll) {
    for (const i64 rows : {1, 16, 17, 257, 1024, 15360, 65792}) {
      for (const i64 inputs : {1, 192, 588, 2048, 100000}) {
        for (const i64 outputs : {1, 192, 576, 3072}) {
          const ProductShape shape = {rows, outputs, inputs, precision};
          const ProductPlan plan = plan_product(shape, {});
          ASSERT_GE(plan.tile, 0);
          const ProductTile& tile = kProductTiles[plan.tile];
          EXPECT_EQ(tile.tensor_cores, precision != Precision::f32);
          EXPECT_EQ(plan.groups, (outputs + tile.cols - 1) / tile.cols);
          EXPECT_LE(product_shared_bytes(tile, shape), 227 * 1024);
        }
      }
    }
  }
}

TEST(ProductTiles, LongRowsAreNotKept) {
  EXPECT_GE(plan_product({1000, 192, 1024, Precision::f32, Rows::kept}, {}).tile, 0);
  EXPECT_EQ(plan_product({1000, 192, 100000, Precision::f32, Rows::kept}, {}).tile, -1);
}

TEST(ProductTiles, LargeProductsTakeLargeTilesAndSmallOnesFillTheChip) {
  const auto name = [](const ProductShape& shape) {
    return std::string(kProductTiles[plan_product(shape, {}).tile].name);
  };
  EXPECT_EQ(name({65792, 192, 768, Precision::bf16}), "mma_128x192");
  EXPECT_EQ(name({15360, 192, 2048, Precision::bf16}), "mma_128x192");
  EXPECT_EQ(name({65536, 3072, 1024, Precision::f32}), "simt_128x128");
  // one candidate
  EXPECT_EQ(name({1, 2048, 192, Precision::bf16}), "mma_16x32");
  // 1024 candidates: no tile of the two largest gives a block to half of the chip
  const std::string middle = name({1024, 192, 2048, Precision::bf16});
  EXPECT_TRUE(middle == "mma_64x64" || middle == "mma_32x64") << middle;
}

TEST(ProductTiles, RowsAreKeptWhereManyColumnsUseThem) {
  // 15360 rows, 3072 outputs: x is read once
  EXPECT_EQ(plan_prepared_product({15360, 3072, 192, Precision::bf16}, {}).x, Rows::kept);
  // 1024 modulated rows: sixteen blocks would each prepare the same ones
  EXPECT_EQ(plan_prepared_product({1024, 3072, 192, Precision::bf16, Rows::apart, 3}, {}).x,
            Rows::apart);
  EXPECT_EQ(plan_prepared_product({1024, 3072, 192, Precision::bf16}, {}, "mma_64x64_kept").x,
            Rows::kept);
  EXPECT_EQ(plan_prepared_product({15360, 3072, 192, Precision::bf16}, {}, "mma_64x64").x,
            Rows::apart);
  EXPECT_THROW(plan_prepared_product({1, 1, kLongestKept + 1}, {}), Error);
}

TEST(ProductTiles, TakeTheOneAskedFor) {
  const ProductDevice device = {.warpgroups = true};
  for (const ProductTile& tile : kProductTiles) {
    const ProductShape shape = {100, 300, 200,
                                tile.tensor_cores ? Precision::int8 : Precision::f32};
    EXPECT_EQ(kProductTiles[plan_product(shape, device, tile.name).tile].name,
              std::string_view(tile.name));
    // the other kind of units has no such tile: it chooses for itself
    const ProductShape other = {100, 300, 200,
                                tile.tensor_cores ? Precision::f32 : Precision::int8};
    EXPECT_EQ(plan_product(other, device, tile.name).tile, plan_product(other, device).tile);
  }
  EXPECT_THROW(plan_product({1, 1, 1}, {}, "mma_1x1"), Error);
}

TEST(ProductTiles, WarpgroupsAreTakenOnlyWhenAskedForAndThere) {
  const ProductShape large = {65792, 192, 768, Precision::bf16};
  const auto name = [&](const ProductShape& shape, bool there, const char* wanted) {
    const ProductPlan plan = plan_product(shape, {.warpgroups = there}, wanted);
    return std::string_view(kProductTiles[plan.tile].name);
  };
  EXPECT_EQ(name(large, true, "wgmma_128x192"), "wgmma_128x192");
  EXPECT_EQ(name(large, true, ""), "mma_128x192");
  EXPECT_EQ(name(large, false, "wgmma_128x192"), "mma_128x192");
  ProductShape tf32 = large;
  tf32.precision = Precision::tf32;
  EXPECT_EQ(name(tf32, true, "wgmma_128x192"), "mma_128x192");
}

TEST(ProductTiles, BulkCopiesTakeRowsThatAreReady) {
  const ProductDevice device = {.warpgroups = true};
  const auto plan = [&](ProductShape shape) {
    return plan_product(shape, device, "wgmma_tma_128x192");
  };
  const auto is_bulk = [](const ProductPlan& p) { return kProductTiles[p.tile].bulk; };
  const ProductShape ready = {65792, 576, 192, Precision::bf16};
  EXPECT_TRUE(is_bulk(plan(ready)));
  ProductShape odd = ready;
  odd.x_in_boxes = false;
  EXPECT_FALSE(is_bulk(plan(odd)));
  ProductShape kept = ready;
  kept.x = Rows::kept;
  EXPECT_FALSE(is_bulk(plan(kept)));
  // what is normalised is prepared apart, by name
  const ProductPlan prepared = plan_prepared_product(ready, device, "wgmma_tma_128x192");
  EXPECT_TRUE(is_bulk(prepared));
  EXPECT_EQ(prepared.x, Rows::apart);
}

TEST(ProductTiles, BulkBlocksFillTheChipOnceAndReachEveryRow) {
  for (const ProductTile& tile : kProductTiles) {
    if (!tile.bulk) continue;
    for (const i64 rows : {1, 128, 129, 15360, 65792}) {
      for (const i64 outputs : {1, 192, 576, 3072, 40000}) {
        const ProductPlan plan =
            plan_product({rows, outputs, 192, Precision::bf16}, {.warpgroups = true}, tile.name);
        const i64 row_tiles = (rows + tile.rows - 1) / tile.rows;
        const i64 col_tiles = (outputs + tile.cols - 1) / tile.cols;
        EXPECT_GE(plan.stripes, 1);
        EXPECT_LE(plan.stripes, row_tiles);
        EXPECT_LE(plan.stripes * col_tiles, std::max<i64>(132, col_tiles));
        EXPECT_GT((plan.stripes + 1) * col_tiles, std::min<i64>(132, row_tiles * col_tiles));
      }
    }
    // a box each of x and the weight fills a stage; a barrier counts fewer than 2^20 bytes
    EXPECT_LE(tile.rows, 256);
    EXPECT_LE(tile.cols, 256);
    EXPECT_LT((tile.rows + tile.cols) * kChunkBytes, 1 << 20);
    // barriers lie behind the slices, at multiples of 8
    EXPECT_EQ((product_extra_bytes(tile) - 4 * tile.rows) % 8, 0);
    EXPECT_EQ(tile.threads(), 32 * (tile.row_warps * tile.col_warps + 1));
  }
}

TEST(ProductTiles, ChunksLieAsWarpgroupsReadThem) {
  for (int row = 0; row < 128; ++row) {
    for (int byte = 0; byte < kChunkBytes; ++byte) {
      EXPECT_EQ(static_cast<u32>(chunk_place(row, byte, row)),
                wgmma_place(static_cast<u32>(row), static_cast<u32>(byte)));
    }
  }
  // stages and stripes of rows begin where patterns do
  for (const ProductTile& tile : kProductTiles) {
    if (!tile.warpgroups) continue;
    EXPECT_EQ(tile.rows * kChunkBytes % static_cast<int>(kWgmmaPattern), 0);
    EXPECT_EQ(tile.cols * kChunkBytes % static_cast<int>(kWgmmaPattern), 0);
    EXPECT_EQ(64 * kChunkBytes % static_cast<int>(kWgmmaPattern), 0);
  }
}

TEST(ProductTiles, DescriptorsSayWhereAndHow) {
  // fields of the PTX ISA: start and strides in 16 bytes, swizzle 1 of 128 bytes
  const u64 descriptor = wgmma_descriptor(0x12c00 + 32);
  EXPECT_EQ(descriptor & 0x3fff, (0x12c00u + 32) >> 4);
  EXPECT_EQ(descriptor >> 32 & 0x3fff, 64u);
  EXPECT_EQ(descriptor >> 49 & 7, 0u);  // patterns begin at multiples of their size
  EXPECT_EQ(descriptor >> 62, 1u);
  // a step of 32 bytes never carries into another field, to the last pattern that a block can have
  EXPECT_EQ(wgmma_descriptor(227 * 1024) + 6, wgmma_descriptor(227 * 1024 + 96));
}

TEST(PackRows, RoundsToTf32) {
  const float exact = 1.0f + 0x1p-10f, tie = 1.0f + 0x1p-11f;
  const std::vector<float> weight = {exact, tie, -tie, 1.0f + 0x1p-12f, 3e38f};
  const PackedRows packed = pack_rows(View<const float, 2>(weight.data(), {1, 5}), Precision::tf32);
  EXPECT_EQ(packed.row_bytes, 32);
  std::vector<float> got(8);
  std::memcpy(got.data(), packed.rows.data(), 32);
  EXPECT_EQ(got[0], exact);
  EXPECT_EQ(got[1], exact);  // away from zero
  EXPECT_EQ(got[2], -exact);
  EXPECT_EQ(got[3], 1.0f);
  EXPECT_NEAR(got[4], 3e38f, 3e38f * 0x1p-11f);
  for (int i = 5; i < 8; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], 0.0f);
}

}  // namespace
}  // namespace orrery
