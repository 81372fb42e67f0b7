#include "ops/multiply_bf16_cpu.h"

#include "base/error.h"

#if defined(__x86_64__)

// g++ 12 takes the undefined vectors of its own header for a mistake
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <algorithm>
#include <type_traits>

#include "device/memory.h"

// Products through VDPBF16PS, which adds two exact products of bf16 to each of sixteen floats. Both
// factors are packed as pairs of neighbouring inputs k, k + 1 in one word of 32 bits:
//
//   tile of a    pair p, row i      word p * 14 + i
//   panel of b   pair p, column j   word p * 32 + j
//
// so that the kernel broadcasts words of a and reads vectors of words of b. Functions that use the
// instructions carry them as an attribute: the file is compiled for the baseline like any other.
#define ORRERY_AVX512BF16 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define ORRERY_INLINE_AVX512BF16 ORRERY_AVX512BF16 inline __attribute__((always_inline))

namespace orrery::cpu {

namespace {

// 14 x 2 accumulators + 2 loads of b + 1 broadcast of a = 31 of 32 registers
constexpr int kTileRows = 14;
constexpr int kTileCols = 32;
// inputs summed at once: a panel's part of 1024 x 32 x 2 bytes = 64 KiB stays in L2 while row tiles
// pass
constexpr i64 kBlockPairs = 512;
// row tiles per task, as many as beside a panel stay in L2: 4 x 14 x 1024 x 2 bytes = 112 KiB
constexpr i64 kTaskTiles = 4;
// words that packing may write beyond the last tile: a whole vector is stored for 14 rows
constexpr i64 kSlack = 16;

i64 up(i64 value, i64 unit) { return (value + unit - 1) / unit; }

ORRERY_INLINE_AVX512BF16 __mmask16 first_lanes(i64 count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffff : (1 << count) - 1);
}

// thirty-two values from memory as sixteen pairs; those beyond `count` are zero
ORRERY_INLINE_AVX512BF16 __m512i load_pairs(const float* from, i64 count) {
  const __m512 low = _mm512_maskz_loadu_ps(first_lanes(count), from);
  const __m512 high =
      count > 16 ? _mm512_maskz_loadu_ps(first_lanes(count - 16), from + 16) : _mm512_setzero_ps();
  return __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(high, low));
}
ORRERY_INLINE_AVX512BF16 __m512i load_pairs(const bf16* from, i64 count) {
  const auto mask = static_cast<__mmask32>(count >= 32 ? ~0u : (1u << count) - 1);
  return _mm512_maskz_loadu_epi16(mask, from);
}

// sixteen values of each of two rows as sixteen pairs of neighbours across the rows
ORRERY_INLINE_AVX512BF16 __m512i join_rows(const float* low, const float* high, __mmask16 mask) {
  const __m512 a = _mm512_maskz_loadu_ps(mask, low);
  const __m512 b = high == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, high);
  const __m512i halves = __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(b, a));
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, halves);
}
ORRERY_INLINE_AVX512BF16 __m512i join_rows(const bf16* low, const bf16* high, __mmask16 mask) {
  const __m512i a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, low));
  if (high == nullptr) return a;
  const __m512i b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, high));
  return _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
}

// rows of a 16 x 16 matrix of words become its columns
ORRERY_INLINE_AVX512BF16 void transpose_words(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

// Lines [first, first + count) of [lines, k], a tile's rows or a panel's columns, inputs [begin,
// end), begin even -> out[pair * Width + line], zero beyond `count` and beyond an odd end. Up to
// kSlack words behind the result are written too.
template <int Width, typename T>
ORRERY_AVX512BF16 void pack(View<const T, 2> lines, i64 first, i64 count, i64 begin, i64 end,
                            u32* out) {
  const T* from = lines.data() + first * lines.stride(0) + begin * lines.stride(1);
  const i64 inputs = end - begin, pairs = up(inputs, 2), line = lines.stride(0),
            step = lines.stride(1);
  // sixteen lines at a time, in ascending order: what is written too much is written again
  if (line == 1) {
    for (i64 p = 0; p < pairs; ++p) {
      const T* low = from + 2 * p * step;
      const T* high = 2 * p + 1 < inputs ? low + step : nullptr;
      for (int part = 0; part < Width; part += 16) {
        const __mmask16 mask = first_lanes(std::max<i64>(0, count - part));
        _mm512_storeu_si512(out + p * Width + part,
                            join_rows(low + part, high == nullptr ? nullptr : high + part, mask));
      }
    }
    return;
  }
  if (step == 1) {
    for (i64 p = 0; p < pairs; p += 16) {
      for (int part = 0; part < Width; part += 16) {
        __m512i r[16];
        for (int i = 0; i < 16; ++i) {
          r[i] = part + i < count ? load_pairs(from + (part + i) * line + 2 * p, inputs - 2 * p)
                                  : _mm512_setzero_si512();
        }
        transpose_words(r);
        const i64 there = std::min<i64>(16, pairs - p);
        for (i64 i = 0; i < there; ++i) _mm512_storeu_si512(out + (p + i) * Width + part, r[i]);
      }
    }
    return;
  }
  const auto bits = [&](i64 i, i64 k) -> u32 {
    return i < count && k < inputs ? bf16(from[i * line + k * step]).bits : 0;
  };
  for (i64 p = 0; p < pairs; ++p) {
    for (i64 i = 0; i < Width; ++i) {
      out[p * Width + i] = bits(i, 2 * p) | bits(i, 2 * p + 1) << 16;
    }
  }
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

  Cut(i64 rows, i64 cols, i64 threads) : tiles(up(rows, kTileRows)), panels(up(cols, kTileCols)) {
    // four tasks a thread are shared evenly
    tiles_per_block = std::clamp<i64>(tiles / (4 * threads), 1, kTaskTiles);
    row_blocks = up(tiles, tiles_per_block);
    const i64 wanted = std::min<i64>(panels, up(4 * threads, row_blocks));
    panels_per_block = up(panels, wanted);
    panel_blocks = up(panels, panels_per_block);
  }
};

template <typename A, typename B, typename Out>
void multiply(Context& ctx, View<const A, 2> a, View<const B, 2> b, const Epilogue& epilogue,
              View<Out, 2> c) {
  const i64 m = a.size(0), k = a.size(1), n = b.size(1), pairs = up(k, 2);
  const Cut cut(m, n, ctx.threads());
  const i64 block = std::min(pairs, kBlockPairs), blocks = std::max<i64>(1, up(pairs, kBlockPairs));

  // panels of b with all inputs
  const i64 panel_words = pairs * kTileCols;
  auto* panels = reinterpret_cast<u32*>(
      ctx.shared_scratch(static_cast<std::size_t>(cut.panels * panel_words + kSlack) * sizeof(u32),
                         Context::Slot::matrix));
  ctx.parallel(cut.panels * blocks, [&](i64 task, int) {
    const i64 panel = task / blocks, begin = task % blocks * block;
    const i64 column = panel * kTileCols;
    pack<kTileCols>(b.transposed(), column, std::min<i64>(kTileCols, n - column), 2 * begin,
                    std::min(k, 2 * (begin + block)),
                    panels + panel * panel_words + begin * kTileCols);
  });

  // a worker's row tiles of one block of inputs, and its sums where there are several blocks
  const i64 tile_words = block * kTileRows;
  const std::size_t packed_words =
      static_cast<std::size_t>(up(cut.tiles_per_block * tile_words + kSlack, 16) * 16);
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
        pack<kTileRows>(a, row, std::min<i64>(kTileRows, m - row), 2 * begin,
                        std::min(k, 2 * (begin + block)),
                        packed + (tile - tile_begin) * tile_words);
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
          multiply(ctx, left, right, epilogue, c.halves);
        } else {
          multiply(ctx, left, right, epilogue, c.floats);
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
