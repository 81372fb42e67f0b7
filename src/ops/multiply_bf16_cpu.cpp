#include "ops/multiply_bf16_cpu.h"

#include "base/error.h"

#if defined(__x86_64__)

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "device/memory.h"
#include "ops/bf16_pairs.h"

// Both factors are taken as pairs of inputs:
//
//   tile of a    pair p, row i      word p * 16 + i, or where rows are kept as bf16 words of theirs
//   panel of b   pair p, column j   word p * 32 + j
//
// so that the kernel broadcasts words of a and reads vectors of words of b.
//
// There are two ways through a product. Where sums are short, as over the inputs of a layer, b is a
// weight: its panels are packed once for all tasks, and a task owns some rows of a. Where they are
// long, as over the rows of a batch, a task owns a block of c and packs what it needs of both
// factors piece by piece, so that nothing packed ever leaves its L2.

namespace orrery::cpu {

namespace {

// 14 x 2 accumulators + 2 loads of b + 1 broadcast of a = 31 of 32 registers
constexpr int kTileRows = 14;
constexpr int kTileCols = 32;
// a packed tile's rows, two of them unused: whole cache lines are written
constexpr int kTileWidth = 16;
// the longest short sum: a panel of 1024 x 32 x 2 bytes = 64 KiB stays in L2 while row tiles pass
constexpr i64 kShortPairs = 512;
// pairs of inputs whose panels one task packs: 128 rows of b
constexpr i64 kPackPairs = 64;
// row tiles per task, as many as beside a panel stay in L2: 4 x 14 x 1024 x 2 bytes = 112 KiB
constexpr i64 kTaskTiles = 4;
// Long sums: a task's block of c, at most 14 x 12 tiles of 1.8 KB = 300 KB, and 128 pairs of both
// factors at a time, 98 KB and 192 KB, lie in L2; one panel of 16 KB in L1. Sums go to their block
// and come back every 128 x 28 instructions.
constexpr i64 kBlockTiles = 14, kBlockPanels = 12, kPiecePairs = 128;

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

// a whole vector: a masked store takes several times as long
ORRERY_INLINE_AVX512BF16 void store(__m512 value, float* to) { _mm512_storeu_ps(to, value); }
ORRERY_INLINE_AVX512BF16 void store(__m512 value, bf16* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      __builtin_bit_cast(__m256i, _mm512_cvtneps_pbh(value)));
}

// A tile of the left factor: the pair p of row i begins at values[i * row + p * step].
struct Packed {
  const bf16* values;
  static constexpr i64 row = 2, step = 2 * kTileWidth;
};
struct InPlace {
  const bf16* values;
  i64 row;
  static constexpr i64 step = 2;
};

ORRERY_INLINE_AVX512BF16 __m512bh broadcast_pair(const bf16* at) {
  int word;
  std::memcpy(&word, at, sizeof(word));
  return __builtin_bit_cast(__m512bh, _mm512_set1_epi32(word));
}

// Which part of a sum a tile adds up: it begins at `partial` unless it is the first one, and goes
// there unless it is the last.
struct Piece {
  i64 pairs;
  bool first, last;
  float* partial;  // [kTileRows, kTileCols]
};

// The product of one tile of a and one panel of b; the last piece finishes `rows` rows and `cols`
// columns.
template <int Rows, typename Left, typename Out>
ORRERY_AVX512BF16 void multiply_tile(Left a, const u32* b, const Piece& piece, i64 rows, i64 cols,
                                     const Target<Out>& target) {
  float* const partial = piece.partial;
  const bool first = piece.first;
  __m512 sum[Rows][2];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
    sum[i][0] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(partial + i * kTileCols);
    sum[i][1] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(partial + i * kTileCols + 16);
  }
  for (i64 p = 0; p < piece.pairs; ++p) {
    const auto b0 = __builtin_bit_cast(__m512bh, _mm512_loadu_si512(b));
    const auto b1 = __builtin_bit_cast(__m512bh, _mm512_loadu_si512(b + 16));
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const __m512bh factor = broadcast_pair(a.values + i * a.row);
      sum[i][0] = _mm512_dpbf16_ps(sum[i][0], factor, b0);
      sum[i][1] = _mm512_dpbf16_ps(sum[i][1], factor, b1);
    }
    a.values += Left::step;
    b += kTileCols;
  }
  if (!piece.last) {
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
    if (cols == kTileCols) {
      store(value0, to);
      store(value1, to + 16);
    } else {
      store(value0, mask0, to);
      if (cols > 16) store(value1, mask1, to + 16);
    }
  }
}

// the smallest kernel that holds the rows
template <typename Out>
void multiply_rows(Packed a, const u32* b, const Piece& piece, i64 rows, i64 cols,
                   const Target<Out>& target) {
  if (rows <= 2) return multiply_tile<2>(a, b, piece, rows, cols, target);
  if (rows <= 6) return multiply_tile<6>(a, b, piece, rows, cols, target);
  if (rows <= 10) return multiply_tile<10>(a, b, piece, rows, cols, target);
  multiply_tile<kTileRows>(a, b, piece, rows, cols, target);
}

// what a tile of c at (row, column) needs beside the factors
template <typename Out>
Target<Out> target_at(const Epilogue& epilogue, View<Out, 2> c, i64 row, i64 column) {
  const View<const float, 2>& residual = epilogue.residual;
  return {.c = c.data() + row * c.stride(0) + column,
          .stride = c.stride(0),
          .bias = epilogue.bias ? epilogue.bias.data() + column : nullptr,
          .residual = residual ? residual.data() + row * residual.stride(0) + column : nullptr,
          .residual_stride = residual ? residual.stride(0) : 0};
}

// Blocks of row tiles and of panels that one task owns. How a product is cut does not change its
// sums.
struct Cut {
  i64 tiles, panels, tiles_per_block, panels_per_block;

  i64 row_blocks() const { return units(tiles, tiles_per_block); }
  i64 panel_blocks() const { return units(panels, panels_per_block); }
  i64 tasks() const { return row_blocks() * panel_blocks(); }
  i64 first_tile(i64 task) const { return task / panel_blocks() * tiles_per_block; }
  i64 first_panel(i64 task) const { return task % panel_blocks() * panels_per_block; }
  i64 last_tile(i64 task) const { return std::min(tiles, first_tile(task) + tiles_per_block); }
  i64 last_panel(i64 task) const { return std::min(panels, first_panel(task) + panels_per_block); }
};

// blocks of rows, and of panels where there are too few rows for the team
Cut cut_short(i64 rows, i64 cols, i64 threads) {
  Cut cut = {units(rows, kTileRows), units(cols, kTileCols), 1, 1};
  // four tasks a thread are shared evenly
  cut.tiles_per_block = std::clamp<i64>(cut.tiles / (4 * threads), 1, kTaskTiles);
  const i64 wanted = std::min<i64>(cut.panels, units(4 * threads, cut.row_blocks()));
  cut.panels_per_block = units(cut.panels, wanted);
  return cut;
}

// the blocks that take the least time, with what each of them packs
Cut cut_long(i64 rows, i64 cols, i64 threads) {
  // instructions a pair of inputs: 28 multiply a tile, about four pack sixteen words
  constexpr i64 kMultiply = 28, kPack = 4;
  Cut best = {units(rows, kTileRows), units(cols, kTileCols), 1, 1};
  i64 least = std::numeric_limits<i64>::max();
  for (i64 tiles = 1; tiles <= std::min(kBlockTiles, best.tiles); ++tiles) {
    for (i64 panels = 1; panels <= std::min(kBlockPanels, best.panels); ++panels) {
      const Cut cut = {best.tiles, best.panels, tiles, panels};
      const i64 block = tiles * panels * kMultiply + (tiles + panels * kTileCols / 16) * kPack;
      const i64 time = units(cut.tasks(), threads) * block;
      if (time >= least) continue;
      least = time;
      best = cut;
    }
  }
  return best;
}

// Rows of bf16 need no packing: their words are pairs already. Not where they lie a multiple of a
// page apart, which fourteen ways of a cache cannot hold.
template <typename T>
bool in_place([[maybe_unused]] View<const T, 2> a) {
  if constexpr (std::is_same_v<T, bf16>) {
    constexpr i64 kPage = 4096 / sizeof(bf16);
    return a.stride(1) == 1 && a.size(1) % 2 == 0 && a.stride(0) % kPage != 0;
  } else {
    return false;
  }
}

template <typename A, typename B, typename Out>
void multiply_short(Context& ctx, View<const A, 2> a, View<const B, 2> b, const Epilogue& epilogue,
                    View<Out, 2> c, const FinishedPart* finished) {
  const i64 m = a.size(0), k = a.size(1), n = b.size(1), pairs = units(k, 2);
  const Cut cut = cut_short(m, n, ctx.threads());

  const i64 panel_words = pairs * kTileCols;
  auto* panels = reinterpret_cast<u32*>(ctx.shared_scratch(
      static_cast<std::size_t>(cut.panels * panel_words) * sizeof(u32), Context::Slot::matrix));
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

  const bool as_is = in_place(a);
  const i64 tile_words = pairs * kTileWidth;
  const auto packed_words = static_cast<std::size_t>(cut.tiles_per_block * tile_words);
  const Piece all = {.pairs = pairs, .first = true, .last = true, .partial = nullptr};
  ctx.parallel(cut.tasks(), [&](i64 task, int worker) {
    auto* packed = reinterpret_cast<u32*>(ctx.worker_scratch(worker, packed_words * sizeof(u32)));
    const i64 tile_begin = cut.first_tile(task), tile_end = cut.last_tile(task);
    const i64 panel_begin = cut.first_panel(task), panel_end = cut.last_panel(task);
    for (i64 tile = tile_begin; tile < tile_end; ++tile) {
      const i64 row = tile * kTileRows;
      if (as_is && m - row >= kTileRows) continue;
      pack(a, row, std::min<i64>(kTileRows, m - row), 0, k, kTileWidth,
           packed + (tile - tile_begin) * tile_words);
    }
    for (i64 panel = panel_begin; panel < panel_end; ++panel) {
      for (i64 tile = tile_begin; tile < tile_end; ++tile) {
        const i64 row = tile * kTileRows, column = panel * kTileCols;
        const i64 rows = std::min<i64>(kTileRows, m - row);
        const i64 cols = std::min<i64>(kTileCols, n - column);
        const Target<Out> target = target_at(epilogue, c, row, column);
        const u32* words = panels + panel * panel_words;
        if constexpr (std::is_same_v<A, bf16>) {
          if (as_is && rows == kTileRows) {
            const InPlace rows_of_a = {a.data() + row * a.stride(0), a.stride(0)};
            multiply_tile<kTileRows>(rows_of_a, words, all, rows, cols, target);
            continue;
          }
        }
        const u32* of_tile = packed + (tile - tile_begin) * tile_words;
        multiply_rows({reinterpret_cast<const bf16*>(of_tile)}, words, all, rows, cols, target);
      }
    }
    if (finished != nullptr) {
      (*finished)(tile_begin * kTileRows, std::min(m, tile_end * kTileRows),
                  panel_begin * kTileCols, std::min(n, panel_end * kTileCols));
    }
  });
}

// Lines [first, last) of one piece of the inputs as tiles of `count` lines, `Width` words wide and
// `stride` words apart. Where lines lie beside each other the inputs are rows in memory, which are
// read once, in order.
template <int Width, typename T>
ORRERY_AVX512BF16 void pack_piece(View<const T, 2> lines, i64 first, i64 last, i64 begin, i64 end,
                                  i64 count, i64 stride, u32* out) {
  if (lines.stride(0) != 1) {
    for (i64 line = first; line < last; line += count, out += stride) {
      pack_pairs(lines, line, std::min(count, last - line), begin, end, Width, out);
    }
    return;
  }
  const bool odd = (end - begin) % 2 != 0;
  for (i64 input = begin; input < end; input += 2) {
    const T* low = lines.data() + input * lines.stride(1);
    const T* high = odd && input + 1 == end ? nullptr : low + lines.stride(1);
    u32* to = out + (input - begin) / 2 * Width;
    i64 line = first;
    if (high != nullptr) {
      for (; line + Width <= last; line += count, to += stride) {
        for (int part = 0; part < Width; part += 16) {
          _mm512_storeu_si512(to + part, join_rows(low + line + part, high + line + part));
        }
      }
    }
    for (; line < last; line += count, to += stride) {
      for (int part = 0; part < Width; part += 16) {
        const i64 at = line + part;
        const __mmask16 mask = first_lanes(std::clamp<i64>(last - at, 0, 16));
        _mm512_storeu_si512(to + part,
                            join_rows(low + at, high == nullptr ? nullptr : high + at, mask));
      }
    }
  }
}

template <typename A, typename B, typename Out>
void multiply_long(Context& ctx, View<const A, 2> a, View<const B, 2> b, const Epilogue& epilogue,
                   View<Out, 2> c, const FinishedPart* finished) {
  const i64 m = a.size(0), k = a.size(1), n = b.size(1), pairs = units(k, 2);
  const Cut cut = cut_long(m, n, ctx.threads());
  constexpr i64 kTileWords = kPiecePairs * kTileWidth, kPanelWords = kPiecePairs * kTileCols;
  constexpr i64 kPartial = kTileRows * kTileCols;
  const i64 left_words = cut.tiles_per_block * kTileWords;
  const i64 right_words = cut.panels_per_block * kPanelWords;
  const i64 sums = cut.tiles_per_block * cut.panels_per_block * kPartial;
  const auto bytes = static_cast<std::size_t>(left_words + right_words + sums) * sizeof(u32);
  ctx.parallel(cut.tasks(), [&](i64 task, int worker) {
    auto* left = reinterpret_cast<u32*>(ctx.worker_scratch(worker, bytes));
    u32* right = left + left_words;
    auto* partial = reinterpret_cast<float*>(right + right_words);
    const i64 tile_begin = cut.first_tile(task), tile_end = cut.last_tile(task);
    const i64 panel_begin = cut.first_panel(task), panel_end = cut.last_panel(task);
    const i64 row_end = std::min(m, tile_end * kTileRows);
    const i64 column_end = std::min(n, panel_end * kTileCols);
    for (i64 begin = 0; begin < pairs; begin += kPiecePairs) {
      const i64 end = std::min(pairs, begin + kPiecePairs);
      pack_piece<kTileWidth>(a, tile_begin * kTileRows, row_end, 2 * begin, std::min(k, 2 * end),
                             kTileRows, kTileWords, left);
      pack_piece<kTileCols>(b.transposed(), panel_begin * kTileCols, column_end, 2 * begin,
                            std::min(k, 2 * end), kTileCols, kPanelWords, right);
      for (i64 panel = panel_begin; panel < panel_end; ++panel) {
        for (i64 tile = tile_begin; tile < tile_end; ++tile) {
          const i64 row = tile * kTileRows, column = panel * kTileCols;
          const i64 slot = (panel - panel_begin) * cut.tiles_per_block + tile - tile_begin;
          const Piece piece = {.pairs = end - begin,
                               .first = begin == 0,
                               .last = end == pairs,
                               .partial = partial + slot * kPartial};
          const u32* of_tile = left + (tile - tile_begin) * kTileWords;
          multiply_rows({reinterpret_cast<const bf16*>(of_tile)},
                        right + (panel - panel_begin) * kPanelWords, piece,
                        std::min<i64>(kTileRows, m - row), std::min<i64>(kTileCols, n - column),
                        target_at(epilogue, c, row, column));
        }
      }
    }
    if (finished != nullptr) {
      (*finished)(tile_begin * kTileRows, row_end, panel_begin * kTileCols, column_end);
    }
  });
}

template <typename A, typename B, typename Out>
void multiply(Context& ctx, View<const A, 2> a, View<const B, 2> b, const Epilogue& epilogue,
              View<Out, 2> c, const FinishedPart* finished) {
  if (a.size(1) <= 2 * kShortPairs) return multiply_short(ctx, a, b, epilogue, c, finished);
  multiply_long(ctx, a, b, epilogue, c, finished);
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
