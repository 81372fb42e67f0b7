#include "ops/multiply_bf16_cpu.h"

#include "base/error.h"

#if defined(__x86_64__)

#include <algorithm>
#include <type_traits>

#include "device/memory.h"
#include "ops/bf16_pairs.h"

// Both factors are packed as pairs of inputs:
//
//   tile of a    pair p, row i      word p * 14 + i
//   panel of b   pair p, column j   word p * 32 + j
//
// so that the kernel broadcasts words of a and reads vectors of words of b.

namespace orrery::cpu {

namespace {

// 14 x 2 accumulators + 2 loads of b + 1 broadcast of a = 31 of 32 registers
constexpr int kTileRows = 14;
constexpr int kTileCols = 32;
// inputs summed at once: a panel's part of 1024 x 32 x 2 bytes = 64 KiB stays in L2 while row tiles
// pass
constexpr i64 kBlockPairs = 512;
// pairs of inputs whose panels one task packs: 128 rows of b
constexpr i64 kPackPairs = 64;
// row tiles per task, as many as beside a panel stay in L2: 4 x 14 x 1024 x 2 bytes = 112 KiB
constexpr i64 kTaskTiles = 4;

template <typename T>
ORRERY_AVX512BF16 void pack(View<const T, 2> lines, i64 first, i64 count, i64 begin, i64 end,
                            i64 width, u32* out) {
  pack_pairs(lines, first, count, begin, end, width, out);
}

// Where a tile of c goes, and what is added to it on the way.
template <typename Out>
struct Target {
  Out* c;
  i64 stride;
  const float* bias;      // or null
  const float* residual;  // or null
  i64 residual_stride;
};

ORRERY_INLINE_AVX512BF16 void store(__m512 value, __mmask16 mask, float* to) {
  _mm512_mask_storeu_ps(to, mask, value);
}
ORRERY_INLINE_AVX512BF16 void store(__m512 value, __mmask16 mask, bf16* to) {
  _mm256_mask_storeu_epi16(to, mask, __builtin_bit_cast(__m256i, _mm512_cvtneps_pbh(value)));
}

// The product of one tile of a and one panel of b over `pairs`. Sums begin at `partial` unless this
// is the first block of inputs, and go there unless it is the last, which finishes `rows` rows and
// `cols` columns.
template <int Rows, typename Out>
ORRERY_AVX512BF16 void multiply_tile(const u32* a, const u32* b, i64 pairs, bool first, bool last,
                                     float* partial, i64 rows, i64 cols,
                                     const Target<Out>& target) {
  __m512 sum[Rows][2];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
    sum[i][0] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(partial + i * kTileCols);
    sum[i][1] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(partial + i * kTileCols + 16);
  }
  for (i64 p = 0; p < pairs; ++p) {
    const auto b0 = __builtin_bit_cast(__m512bh, _mm512_loadu_si512(b));
    const auto b1 = __builtin_bit_cast(__m512bh, _mm512_loadu_si512(b + 16));
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const auto factor = __builtin_bit_cast(__m512bh, _mm512_set1_epi32(static_cast<int>(a[i])));
      sum[i][0] = _mm512_dpbf16_ps(sum[i][0], factor, b0);
      sum[i][1] = _mm512_dpbf16_ps(sum[i][1], factor, b1);
    }
    a += kTileRows;
    b += kTileCols;
  }
  if (!last) {
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      _mm512_storeu_ps(partial + i * kTileCols, sum[i][0]);
      _mm512_storeu_ps(partial + i * kTileCols + 16, sum[i][1]);
    }
    return;
  }
  const __mmask16 mask0 = first_lanes(cols), mask1 = first_lanes(std::max<i64>(0, cols - 16));
  __m512 bias0 = _mm512_setzero_ps(), bias1 = _mm512_setzero_ps();
  if (target.bias != nullptr) {
    bias0 = _mm512_maskz_loadu_ps(mask0, target.bias);
    bias1 = _mm512_maskz_loadu_ps(mask1, target.bias + 16);
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
    if (i >= rows) break;
    __m512 value0 = _mm512_add_ps(sum[i][0], bias0), value1 = _mm512_add_ps(sum[i][1], bias1);
    if (target.residual != nullptr) {
      const float* residual = target.residual + i * target.residual_stride;
      value0 = _mm512_add_ps(value0, _mm512_maskz_loadu_ps(mask0, residual));
      value1 = _mm512_add_ps(value1, _mm512_maskz_loadu_ps(mask1, residual + 16));
    }
    Out* to = target.c + i * target.stride;
    store(value0, mask0, to);
    if (cols > 16) store(value1, mask1, to + 16);
  }
}

// the smallest kernel that holds the rows
template <typename Out>
void multiply_rows(const u32* a, const u32* b, i64 pairs, bool first, bool last, float* partial,
                   i64 rows, i64 cols, const Target<Out>& target) {
  if (rows <= 2) return multiply_tile<2>(a, b, pairs, first, last, partial, rows, cols, target);
  if (rows <= 6) return multiply_tile<6>(a, b, pairs, first, last, partial, rows, cols, target);
  if (rows <= 10) return multiply_tile<10>(a, b, pairs, first, last, partial, rows, cols, target);
  multiply_tile<kTileRows>(a, b, pairs, first, last, partial, rows, cols, target);
}

// How a product is cut into tasks: blocks of row tiles, and of panels where there are too few rows
// for the team. How it is cut does not change its sums.
struct Cut {
  i64 tiles, panels, row_blocks, tiles_per_block, panel_blocks, panels_per_block;

  Cut(i64 rows, i64 cols, i64 threads)
      : tiles(units(rows, kTileRows)), panels(units(cols, kTileCols)) {
    // four tasks a thread are shared evenly
    tiles_per_block = std::clamp<i64>(tiles / (4 * threads), 1, kTaskTiles);
    row_blocks = units(tiles, tiles_per_block);
    const i64 wanted = std::min<i64>(panels, units(4 * threads, row_blocks));
    panels_per_block = units(panels, wanted);
    panel_blocks = units(panels, panels_per_block);
  }
};

template <typename A, typename B, typename Out>
void multiply(Context& ctx, View<const A, 2> a, View<const B, 2> b, const Epilogue& epilogue,
              View<Out, 2> c, const FinishedPart* finished) {
  const i64 m = a.size(0), k = a.size(1), n = b.size(1), pairs = units(k, 2);
  const Cut cut(m, n, ctx.threads());
  const i64 block = std::min(pairs, kBlockPairs),
            blocks = std::max<i64>(1, units(pairs, kBlockPairs));

  // panels of b with all inputs
  const i64 panel_words = pairs * kTileCols;
  auto* panels = reinterpret_cast<u32*>(ctx.shared_scratch(
      static_cast<std::size_t>(cut.panels * panel_words + kPackSlack) * sizeof(u32),
      Context::Slot::matrix));
  // a task packs all panels of some inputs, which lie beside each other where b's rows are long, or
  // one panel of a weight
  const bool by_inputs = b.stride(1) == 1;
  const i64 chunk = by_inputs ? kPackPairs : std::max<i64>(1, pairs);
  const i64 chunks = units(pairs, chunk), group = by_inputs ? cut.panels : 1;
  ctx.parallel(chunks * units(cut.panels, group), [&](i64 task, int) {
    const i64 begin = task % chunks * chunk, first = task / chunks * group;
    for (i64 panel = first; panel < std::min(cut.panels, first + group); ++panel) {
      const i64 column = panel * kTileCols;
      pack(b.transposed(), column, std::min<i64>(kTileCols, n - column), 2 * begin,
           std::min(k, 2 * (begin + chunk)), kTileCols,
           panels + panel * panel_words + begin * kTileCols);
    }
  });

  // a worker's row tiles of one block of inputs, and its sums where there are several blocks
  const i64 tile_words = block * kTileRows;
  const std::size_t packed_words =
      static_cast<std::size_t>(units(cut.tiles_per_block * tile_words + kPackSlack, 16) * 16);
  constexpr i64 kPartial = kTileRows * kTileCols;
  const std::size_t partial_values =
      blocks == 1 ? 0
                  : static_cast<std::size_t>(cut.tiles_per_block * cut.panels_per_block * kPartial);
  ctx.parallel(cut.row_blocks * cut.panel_blocks, [&](i64 task, int worker) {
    auto* packed = reinterpret_cast<u32*>(
        ctx.worker_scratch(worker, (packed_words + partial_values) * sizeof(u32)));
    auto* partial = reinterpret_cast<float*>(packed + packed_words);
    const i64 tile_begin = task / cut.panel_blocks * cut.tiles_per_block;
    const i64 tile_end = std::min(cut.tiles, tile_begin + cut.tiles_per_block);
    const i64 panel_begin = task % cut.panel_blocks * cut.panels_per_block;
    const i64 panel_end = std::min(cut.panels, panel_begin + cut.panels_per_block);
    for (i64 index = 0; index < blocks; ++index) {
      const i64 begin = index * block, there = std::min(pairs, begin + block) - begin;
      for (i64 tile = tile_begin; tile < tile_end; ++tile) {
        const i64 row = tile * kTileRows;
        pack(a, row, std::min<i64>(kTileRows, m - row), 2 * begin, std::min(k, 2 * (begin + block)),
             kTileRows, packed + (tile - tile_begin) * tile_words);
      }
      for (i64 panel = panel_begin; panel < panel_end; ++panel) {
        for (i64 tile = tile_begin; tile < tile_end; ++tile) {
          const i64 row = tile * kTileRows, column = panel * kTileCols;
          const Target<Out> target = {
              .c = c.data() + row * c.stride(0) + column,
              .stride = c.stride(0),
              .bias = epilogue.bias ? epilogue.bias.data() + column : nullptr,
              .residual = epilogue.residual ? epilogue.residual.data() +
                                                  row * epilogue.residual.stride(0) + column
                                            : nullptr,
              .residual_stride = epilogue.residual ? epilogue.residual.stride(0) : 0};
          const i64 slot = (panel - panel_begin) * cut.tiles_per_block + tile - tile_begin;
          multiply_rows(packed + (tile - tile_begin) * tile_words,
                        panels + panel * panel_words + begin * kTileCols, there, index == 0,
                        index + 1 == blocks, blocks == 1 ? nullptr : partial + slot * kPartial,
                        std::min<i64>(kTileRows, m - row), std::min<i64>(kTileCols, n - column),
                        target);
        }
      }
    }
    if (finished != nullptr) {
      (*finished)(tile_begin * kTileRows, std::min(m, tile_end * kTileRows),
                  panel_begin * kTileCols, std::min(n, panel_end * kTileCols));
    }
  });
}

}  // namespace

bool has_avx512bf16() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bf16");
}

void multiply_bf16_avx512(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                          const Bf16Result& c) {
  std::visit(
      [&](const auto& left, const auto& right) {
        if (c.halves) {
          multiply(ctx, left, right, epilogue, c.halves, c.finished);
        } else {
          multiply(ctx, left, right, epilogue, c.floats, c.finished);
        }
      },
      a, b);
}

}  // namespace orrery::cpu

#else

namespace orrery::cpu {

bool has_avx512bf16() { return false; }
void multiply_bf16_avx512(Context&, const Factor&, const Factor&, const Epilogue&,
                          const Bf16Result&) {
  fail("multiply_bf16: this processor has no AVX-512");
}

}  // namespace orrery::cpu

#endif
