#pragma once

// Pairs of bf16 for VDPBF16PS, which adds two exact products of bf16 to each of sixteen floats: one
// word of 32 bits holds the values of neighbouring inputs k, k + 1 of one row or column. For x86
// only; functions that use the instructions carry them as an attribute, so that files which include
// this are compiled for the baseline like any other.

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

#include "base/bf16.h"
#include "tensor/view.h"

#define ORRERY_AVX512BF16 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define ORRERY_INLINE_AVX512BF16 ORRERY_AVX512BF16 inline __attribute__((always_inline))

namespace orrery::cpu {

// units that hold a value
inline i64 units(i64 value, i64 unit) { return (value + unit - 1) / unit; }

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

// sixteen values and sixteen more -> pairs of one of each
ORRERY_INLINE_AVX512BF16 __m512i interleave(__m512i halves) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, halves);
}

// sixteen values of each of two rows as sixteen pairs of neighbours across the rows
ORRERY_INLINE_AVX512BF16 __m512i join_rows(const float* low, const float* high, __mmask16 mask) {
  const __m512 a = _mm512_maskz_loadu_ps(mask, low);
  const __m512 b = high == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, high);
  return interleave(__builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(b, a)));
}
ORRERY_INLINE_AVX512BF16 __m512i join_rows(const bf16* low, const bf16* high, __mmask16 mask) {
  const __m512i a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, low));
  if (high == nullptr) return a;
  const __m512i b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, high));
  return _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
}

// the same where all are there
ORRERY_INLINE_AVX512BF16 __m512i join_rows(const float* low, const float* high) {
  const __m512bh halves = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(high), _mm512_loadu_ps(low));
  return interleave(__builtin_bit_cast(__m512i, halves));
}
ORRERY_INLINE_AVX512BF16 __m512i join_rows(const bf16* low, const bf16* high) {
  const __m512i a =
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low)));
  const __m512i b =
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(high)));
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

// Lines [first, first + count) of [lines, k], which are rows of a left factor or columns of a right
// one, inputs [begin, end), begin even -> out[pair * width + line], zero beyond `count` and beyond
// an odd end. Where width is no multiple of 16 up to kPackSlack words behind the result are written
// too.
inline constexpr i64 kPackSlack = 16;
template <typename T>
ORRERY_INLINE_AVX512BF16 void pack_pairs(View<const T, 2> lines, i64 first, i64 count, i64 begin,
                                         i64 end, i64 width, u32* out) {
  const T* from = lines.data() + first * lines.stride(0) + begin * lines.stride(1);
  const i64 inputs = end - begin, pairs = units(inputs, 2), line = lines.stride(0),
            step = lines.stride(1);
  // sixteen lines at a time, in ascending order: what is written too much is written again
  if (line == 1 && count == width && width % 16 == 0 && inputs % 2 == 0) {
    for (i64 p = 0; p < pairs; ++p) {
      const T* low = from + 2 * p * step;
      for (i64 part = 0; part < width; part += 16) {
        _mm512_storeu_si512(out + p * width + part, join_rows(low + part, low + step + part));
      }
    }
    return;
  }
  if (line == 1) {
    for (i64 p = 0; p < pairs; ++p) {
      const T* low = from + 2 * p * step;
      const T* high = 2 * p + 1 < inputs ? low + step : nullptr;
      for (i64 part = 0; part < width; part += 16) {
        const __mmask16 mask = first_lanes(std::max<i64>(0, count - part));
        _mm512_storeu_si512(out + p * width + part,
                            join_rows(low + part, high == nullptr ? nullptr : high + part, mask));
      }
    }
    return;
  }
  if (step == 1) {
    for (i64 p = 0; p < pairs; p += 16) {
      for (i64 part = 0; part < width; part += 16) {
        __m512i r[16];
        for (int i = 0; i < 16; ++i) {
          r[i] = part + i < count ? load_pairs(from + (part + i) * line + 2 * p, inputs - 2 * p)
                                  : _mm512_setzero_si512();
        }
        transpose_words(r);
        const i64 there = std::min<i64>(16, pairs - p);
        for (i64 i = 0; i < there; ++i) _mm512_storeu_si512(out + (p + i) * width + part, r[i]);
      }
    }
    return;
  }
  for (i64 p = 0; p < pairs; ++p) {
    for (i64 i = 0; i < width; ++i) {
      const T* at = from + i * line + 2 * p * step;
      const u32 low = i < count ? bf16(at[0]).bits : u32{0};
      const u32 high = i < count && 2 * p + 1 < inputs ? bf16(at[step]).bits : u32{0};
      out[p * width + i] = low | high << 16;
    }
  }
}

}  // namespace orrery::cpu

#endif  // defined(__x86_64__)
