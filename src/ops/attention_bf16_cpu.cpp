#include "ops/attention_bf16_cpu.h"

#include "base/error.h"

#if defined(__x86_64__)

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/bf16_pairs.h"

// One (batch, head) pair after the other, a block of its queries at a time: scores of a block stay
// in L2 between the two products that make and use them.
//
// The right factor of a product is packed as pairs of its rows, word pair * cols + column. The left
// one is either rows of bf16, where neighbours in a row are pairs already, or, where its transpose
// is wanted, pairs of rows like a right factor.

namespace orrery::cpu {

namespace {

// 96 x 272 scores of 4 bytes = 102 KiB
constexpr i64 kBlockQueries = 96;
constexpr int kLanes = 16;

// The left factor in words of two values: (row i, pair p) is data[i * row + p * step].
struct LeftPairs {
  const u32* data;
  i64 row, step;
};

// c[i, 0 .. Vectors) = sum_p a[i, p] b[p, ...] (+ c). 6 x 4 vectors: 24 accumulators + 4 of b + 1
// broadcast = 29 of 32 registers
constexpr int kRows = 6;

template <int Rows, int Vectors>
ORRERY_INLINE_AVX512BF16 void tile(LeftPairs a, const u32* b, i64 cols, i64 pairs, bool accumulate,
                                   float* c) {
  __m512 sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) {
      sum[i][j] = accumulate ? _mm512_loadu_ps(c + i * cols + j * kLanes) : _mm512_setzero_ps();
    }
  }
  for (i64 p = 0; p < pairs; ++p) {
    __m512bh row[Vectors];
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) {
      row[j] = __builtin_bit_cast(__m512bh, _mm512_loadu_si512(b + p * cols + j * kLanes));
    }
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const auto factor = __builtin_bit_cast(
          __m512bh, _mm512_set1_epi32(static_cast<int>(a.data[i * a.row + p * a.step])));
#pragma GCC unroll 4
      for (int j = 0; j < Vectors; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], factor, row[j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) _mm512_storeu_ps(c + i * cols + j * kLanes, sum[i][j]);
  }
}

// all rows beside `Vectors` vectors of columns
template <int Vectors>
ORRERY_AVX512BF16 void column(LeftPairs a, const u32* b, i64 rows, i64 cols, i64 pairs,
                              bool accumulate, float* c) {
  i64 i = 0;
  for (; i + kRows <= rows; i += kRows) {
    tile<kRows, Vectors>({a.data + i * a.row, a.row, a.step}, b, cols, pairs, accumulate,
                         c + i * cols);
  }
  for (; i + 2 <= rows; i += 2) {
    tile<2, Vectors>({a.data + i * a.row, a.row, a.step}, b, cols, pairs, accumulate, c + i * cols);
  }
  if (i < rows) {
    tile<1, Vectors>({a.data + i * a.row, a.row, a.step}, b, cols, pairs, accumulate, c + i * cols);
  }
}

// c [rows, cols] = a b (+ c); cols whole vectors
void product(LeftPairs a, const u32* b, i64 rows, i64 cols, i64 pairs, bool accumulate, float* c) {
  for (i64 j = 0; j < cols;) {
    // five vectors go as 3 + 2: a tile of one vector does not hide the latency of its additions
    const i64 left = (cols - j) / kLanes;
    const i64 width = left == 5 ? 3 : std::min<i64>(left, 4);
    if (width == 4) column<4>(a, b + j, rows, cols, pairs, accumulate, c + j);
    if (width == 3) column<3>(a, b + j, rows, cols, pairs, accumulate, c + j);
    if (width == 2) column<2>(a, b + j, rows, cols, pairs, accumulate, c + j);
    if (width == 1) column<1>(a, b + j, rows, cols, pairs, accumulate, c + j);
    j += width * kLanes;
  }
}

// sixteen values of rows that are kept as floats or as bf16: in bf16, and in f32
ORRERY_INLINE_AVX512BF16 __m256i load_halves(const float* from, __mmask16 mask) {
  return __builtin_bit_cast(__m256i, _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, from)));
}
ORRERY_INLINE_AVX512BF16 __m256i load_halves(const bf16* from, __mmask16 mask) {
  return _mm256_maskz_loadu_epi16(mask, from);
}
ORRERY_INLINE_AVX512BF16 __m512 load_floats(const float* from, __mmask16 mask) {
  return _mm512_maskz_loadu_ps(mask, from);
}
ORRERY_INLINE_AVX512BF16 __m512 load_floats(const bf16* from, __mmask16 mask) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from)), 16));
}
// the first `count` of sixteen values; masked stores of halves are slow
ORRERY_INLINE_AVX512BF16 void store_floats(__m512 values, i64 count, float* to) {
  _mm512_mask_storeu_ps(to, first_lanes(count), values);
}
ORRERY_INLINE_AVX512BF16 void store_floats(__m512 values, i64 count, bf16* to) {
  const __m256i halves = __builtin_bit_cast(__m256i, _mm512_cvtneps_pbh(values));
  if (count >= kLanes) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), halves);
  } else {
    _mm256_mask_storeu_epi16(to, first_lanes(count), halves);
  }
}

// rows -> rows of `padded` bf16, zero beyond
template <typename T>
ORRERY_AVX512BF16 void round_rows(View<const T, 2> from, i64 padded, bf16* to) {
  for (i64 r = 0; r < from.size(0); ++r) {
    const T* row = from.data() + r * from.stride(0);
    for (i64 c = 0; c < padded; c += kLanes) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + r * padded + c),
                          load_halves(row + c, first_lanes(std::max<i64>(0, from.size(1) - c))));
    }
  }
}

// Rows as a right factor: pairs of rows, columns padded; of its transpose: pairs of columns, rows
// padded. Zero beyond the matrix.
template <typename T>
ORRERY_AVX512BF16 void pair_rows(View<const T, 2> from, i64 padded_cols, u32* to) {
  pack_pairs(from.transposed(), 0, from.size(1), 0, from.size(0), padded_cols, to);
}
template <typename T>
ORRERY_AVX512BF16 void pair_columns(View<const T, 2> from, i64 padded_rows, u32* to) {
  pack_pairs(from, 0, from.size(0), 0, from.size(1), padded_rows, to);
}

// e^x within 2 ulp for x <= 0, e^-87 below -87: the steps and the polynomial of Exp in math-inl.h
ORRERY_INLINE_AVX512BF16 __m512 exponential(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(-87.0f));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145751953125f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860682030941723e-6f), r);
  __m512 p = _mm512_set1_ps(1.381410072e-3f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.368790226e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.166839967e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.666652003e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.99999934e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

ORRERY_INLINE_AVX512BF16 __mmask16 seen_lanes(i64 seen, i64 s) {
  return first_lanes(std::clamp<i64>(seen - s, 0, kLanes));
}

// weights[0, padded) <- exp(scale * scores - top) as bf16, zero from `seen` on; top the largest of
// scale * scores. Returns the sum of what was rounded.
ORRERY_AVX512BF16 float softmax_row(const float* scores, i64 seen, i64 padded, float scale,
                                    float* top, bf16* weights) {
  const __m512 factor = _mm512_set1_ps(scale);
  const __m512 lowest = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  __m512 highest = lowest;
  for (i64 s = 0; s < seen; s += kLanes) {
    const __m512 value = _mm512_mul_ps(factor, _mm512_loadu_ps(scores + s));
    highest = _mm512_mask_max_ps(highest, seen_lanes(seen, s), highest, value);
  }
  *top = _mm512_reduce_max_ps(highest);
  const __m512 shift = _mm512_set1_ps(*top);
  __m512 sum = _mm512_setzero_ps();
  for (i64 s = 0; s < padded; s += kLanes) {
    const __m512 value = _mm512_fmsub_ps(factor, _mm512_loadu_ps(scores + s), shift);
    const __m512 p = _mm512_maskz_mov_ps(seen_lanes(seen, s), exponential(value));
    sum = _mm512_add_ps(sum, p);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(weights + s),
                        __builtin_bit_cast(__m256i, _mm512_cvtneps_pbh(p)));
  }
  return _mm512_reduce_add_ps(sum);
}

template <typename T>
ORRERY_AVX512BF16 void scale_row(const float* from, float factor, i64 count, T* to) {
  for (i64 c = 0; c < count; c += kLanes) {
    const i64 there = std::min<i64>(kLanes, count - c);
    store_floats(_mm512_mul_ps(_mm512_set1_ps(factor), load_floats(from + c, first_lanes(there))),
                 there, to + c);
  }
}

template <typename T>
ORRERY_AVX512BF16 float dot(const T* a, const T* b, i64 count) {
  __m512 sum = _mm512_setzero_ps();
  for (i64 c = 0; c < count; c += kLanes) {
    const __mmask16 mask = first_lanes(std::min<i64>(kLanes, count - c));
    sum = _mm512_fmadd_ps(load_floats(a + c, mask), load_floats(b + c, mask), sum);
  }
  return _mm512_reduce_add_ps(sum);
}

// a query's scores and the products of its slopes with the values; null scores: there is no query
struct QueryRow {
  const float* scores = nullptr;
  const float* dp = nullptr;
  float log_sum = 0, mean = 0;  // mean = <dout, out> = sum_s p dp
  i64 seen = 0;
};

// p = exp(scale scores - log_sum), ds = scale p (dp - mean), of two queries: pairs of the two rows,
// and ds again as rows
ORRERY_AVX512BF16 void slope_rows(const QueryRow& first, const QueryRow& second, float scale,
                                  i64 padded, u32* p_pairs, u32* ds_pairs, bf16* ds_first,
                                  bf16* ds_second) {
  const __m512 factor = _mm512_set1_ps(scale);
  for (i64 s = 0; s < padded; s += kLanes) {
    __m512 p[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    __m512 ds[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int i = 0; i < 2; ++i) {
      const QueryRow& row = i == 0 ? first : second;
      if (row.scores == nullptr) continue;
      const __m512 value =
          _mm512_fmsub_ps(factor, _mm512_loadu_ps(row.scores + s), _mm512_set1_ps(row.log_sum));
      p[i] = _mm512_maskz_mov_ps(seen_lanes(row.seen, s), exponential(value));
      ds[i] = _mm512_mul_ps(_mm512_mul_ps(factor, p[i]),
                            _mm512_sub_ps(_mm512_loadu_ps(row.dp + s), _mm512_set1_ps(row.mean)));
    }
    const auto pairs = __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(p[1], p[0]));
    _mm512_storeu_si512(p_pairs + s, interleave(pairs));
    const auto slopes = __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(ds[1], ds[0]));
    _mm512_storeu_si512(ds_pairs + s, interleave(slopes));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(ds_first + s), _mm512_castsi512_si256(slopes));
    if (second.scores != nullptr) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(ds_second + s),
                          _mm512_extracti64x4_epi64(slopes, 1));
    }
  }
}

// one (batch, head) pair as a matrix [tokens, dim]
template <typename T>
View<T, 2> pair_of(View<T, 4> view, i64 b, i64 h) {
  return View<T, 2>(view.data() + b * view.stride(0) + h * view.stride(2),
                    {view.size(1), view.size(3)}, {view.stride(1), 1});
}

// hands out pieces of a worker's scratch, each from a cache line on; on no memory it only counts
struct Carver {
  std::byte* memory;
  i64 used = 0;
  template <typename T>
  T* take(i64 count) {
    T* piece = memory == nullptr ? nullptr : reinterpret_cast<T*>(memory + used);
    used += units(count * static_cast<i64>(sizeof(T)), 64) * 64;
    return piece;
  }
};

// sizes of one pair's work; tokens and dimensions in whole vectors
struct Sizes {
  i64 block, keys, dim, padded_keys, padded_dim;

  template <typename T>
  explicit Sizes(const AttentionInputs<T>& inputs)
      : keys(inputs.k.size(1)),
        dim(inputs.q.size(3)),
        padded_keys(units(keys, kLanes) * kLanes),
        padded_dim(units(dim, kLanes) * kLanes) {
    // blocks of nearly equal size: 97 queries are not 96 and 1; even, for queries go in pairs
    const i64 queries = std::max<i64>(1, inputs.q.size(1));
    block = units(units(queries, units(queries, kBlockQueries)), 2) * 2;
  }
};

struct ForwardScratch {
  u32 *keys, *values;
  bf16 *queries, *weights;
  float *scores, *result;

  ForwardScratch(Carver& carver, const Sizes& s)
      : keys(carver.take<u32>(units(s.dim, 2) * s.padded_keys)),
        values(carver.take<u32>(s.padded_keys / 2 * s.padded_dim)),
        queries(carver.take<bf16>(s.block * s.padded_dim)),
        weights(carver.take<bf16>(s.block * s.padded_keys)),
        scores(carver.take<float>(s.block * s.padded_keys)),
        result(carver.take<float>(s.block * s.padded_dim)) {}
};

template <typename T>
void forward_pair(const AttentionInputs<T>& inputs, View<T, 4> out_all, View<float, 3> log_sum,
                  i64 b, i64 h, const Sizes& s, std::byte* memory) {
  const auto q = pair_of(inputs.q, b, h), k = pair_of(inputs.k, b, h), v = pair_of(inputs.v, b, h);
  const auto out = pair_of(out_all, b, h);
  Carver carver{memory};
  const ForwardScratch scratch(carver, s);
  pair_columns(k, s.padded_keys, scratch.keys);
  pair_rows(v, s.padded_dim, scratch.values);
  // weights beyond the keys are zero, what they multiply must be a number
  const i64 filled = units(s.keys, 2) * s.padded_dim;
  std::fill(scratch.values + filled, scratch.values + s.padded_keys / 2 * s.padded_dim, 0u);

  for (i64 begin = 0; begin < q.size(0); begin += s.block) {
    const i64 end = std::min(q.size(0), begin + s.block), queries = end - begin;
    round_rows(q.slice(0, begin, end), s.padded_dim, scratch.queries);
    product({reinterpret_cast<const u32*>(scratch.queries), s.padded_dim / 2, 1}, scratch.keys,
            queries, s.padded_keys, units(s.dim, 2), false, scratch.scores);
    float factors[kBlockQueries + 2];
    for (i64 t = 0; t < queries; ++t) {
      float top;
      const float sum =
          softmax_row(scratch.scores + t * s.padded_keys, inputs.seen(begin + t), s.padded_keys,
                      inputs.scale, &top, scratch.weights + t * s.padded_keys);
      factors[t] = 1.0f / sum;
      if (log_sum) log_sum(b, h, begin + t) = top + std::log(sum);
    }
    product({reinterpret_cast<const u32*>(scratch.weights), s.padded_keys / 2, 1}, scratch.values,
            queries, s.padded_dim, s.padded_keys / 2, false, scratch.result);
    for (i64 t = 0; t < queries; ++t) {
      scale_row(scratch.result + t * s.padded_dim, factors[t], s.dim,
                out.data() + (begin + t) * out.stride(0));
    }
  }
}

struct BackwardScratch {
  u32 *keys_t, *values_t, *keys;                        // pairs of columns, columns, rows
  bf16 *queries, *slopes, *ds;                          // rows
  u32 *query_pairs, *slope_pairs, *p_pairs, *ds_pairs;  // pairs of rows
  float *scores, *dp, *dq, *dk, *dv;

  BackwardScratch(Carver& carver, const Sizes& s)
      : keys_t(carver.take<u32>(units(s.dim, 2) * s.padded_keys)),
        values_t(carver.take<u32>(units(s.dim, 2) * s.padded_keys)),
        keys(carver.take<u32>(s.padded_keys / 2 * s.padded_dim)),
        queries(carver.take<bf16>(s.block * s.padded_dim)),
        slopes(carver.take<bf16>(s.block * s.padded_dim)),
        ds(carver.take<bf16>(s.block * s.padded_keys)),
        query_pairs(carver.take<u32>(s.block / 2 * s.padded_dim)),
        slope_pairs(carver.take<u32>(s.block / 2 * s.padded_dim)),
        p_pairs(carver.take<u32>(s.block / 2 * s.padded_keys)),
        ds_pairs(carver.take<u32>(s.block / 2 * s.padded_keys)),
        scores(carver.take<float>(s.block * s.padded_keys)),
        dp(carver.take<float>(s.block * s.padded_keys)),
        dq(carver.take<float>(s.block * s.padded_dim)),
        dk(carver.take<float>(s.keys * s.padded_dim)),
        dv(carver.take<float>(s.keys * s.padded_dim)) {}
};

template <typename T>
void copy_rows(const float* from, i64 padded, View<T, 2> to) {
  for (i64 r = 0; r < to.size(0); ++r) {
    scale_row(from + r * padded, 1.0f, to.size(1), to.data() + r * to.stride(0));
  }
}

// what one pair's backward pass reads and writes beside its inputs
template <typename T>
struct PairSlopes {
  View<const T, 2> out;
  const float* log_sum;  // [queries]
  View<const T, 2> dout;
  View<T, 2> dq, dk, dv;
};

template <typename T>
void backward_pair(const AttentionInputs<T>& inputs, i64 b, i64 h, const PairSlopes<T>& pair,
                   const Sizes& s, std::byte* memory) {
  const auto q = pair_of(inputs.q, b, h), k = pair_of(inputs.k, b, h), v = pair_of(inputs.v, b, h);
  const i64 dim_pairs = units(s.dim, 2);
  Carver carver{memory};
  const BackwardScratch scratch(carver, s);
  pair_columns(k, s.padded_keys, scratch.keys_t);
  pair_columns(v, s.padded_keys, scratch.values_t);
  pair_rows(k, s.padded_dim, scratch.keys);
  const i64 filled = units(s.keys, 2) * s.padded_dim;
  std::fill(scratch.keys + filled, scratch.keys + s.padded_keys / 2 * s.padded_dim, 0u);

  for (i64 begin = 0; begin < q.size(0); begin += s.block) {
    const i64 end = std::min(q.size(0), begin + s.block), queries = end - begin;
    const auto q_block = q.slice(0, begin, end), slopes = pair.dout.slice(0, begin, end);
    round_rows(q_block, s.padded_dim, scratch.queries);
    round_rows(slopes, s.padded_dim, scratch.slopes);
    pair_rows(q_block, s.padded_dim, scratch.query_pairs);
    pair_rows(slopes, s.padded_dim, scratch.slope_pairs);

    // scores q k^T and dp = dout v^T, then p and ds
    product({reinterpret_cast<const u32*>(scratch.queries), s.padded_dim / 2, 1}, scratch.keys_t,
            queries, s.padded_keys, dim_pairs, false, scratch.scores);
    product({reinterpret_cast<const u32*>(scratch.slopes), s.padded_dim / 2, 1}, scratch.values_t,
            queries, s.padded_keys, dim_pairs, false, scratch.dp);
    const auto row_of = [&](i64 t) {
      if (t >= queries) return QueryRow{};
      return QueryRow{scratch.scores + t * s.padded_keys, scratch.dp + t * s.padded_keys,
                      pair.log_sum[begin + t],
                      dot(slopes.data() + t * slopes.stride(0),
                          pair.out.data() + (begin + t) * pair.out.stride(0), s.dim),
                      inputs.seen(begin + t)};
    };
    for (i64 t = 0; t < queries; t += 2) {
      slope_rows(row_of(t), row_of(t + 1), inputs.scale, s.padded_keys,
                 scratch.p_pairs + t / 2 * s.padded_keys, scratch.ds_pairs + t / 2 * s.padded_keys,
                 scratch.ds + t * s.padded_keys, scratch.ds + (t + 1) * s.padded_keys);
    }

    // dq = ds k, dk += ds^T q, dv += p^T dout
    const bool later = begin > 0;
    const i64 query_pairs = units(queries, 2);
    product({reinterpret_cast<const u32*>(scratch.ds), s.padded_keys / 2, 1}, scratch.keys, queries,
            s.padded_dim, s.padded_keys / 2, false, scratch.dq);
    product({scratch.ds_pairs, 1, s.padded_keys}, scratch.query_pairs, s.keys, s.padded_dim,
            query_pairs, later, scratch.dk);
    product({scratch.p_pairs, 1, s.padded_keys}, scratch.slope_pairs, s.keys, s.padded_dim,
            query_pairs, later, scratch.dv);
    copy_rows(scratch.dq, s.padded_dim, pair.dq.slice(0, begin, end));
  }
  copy_rows(scratch.dk, s.padded_dim, pair.dk);
  copy_rows(scratch.dv, s.padded_dim, pair.dv);
}

template <typename Scratch>
std::size_t scratch_bytes(const Sizes& sizes) {
  Carver carver{nullptr};
  Scratch scratch(carver, sizes);
  return static_cast<std::size_t>(carver.used);
}

}  // namespace

template <typename T>
void attention_bf16(Context& ctx, const AttentionInputs<T>& inputs, View<T, 4> out,
                    View<float, 3> log_sum) {
  const Sizes sizes(inputs);
  const i64 heads = inputs.q.size(2);
  const std::size_t bytes = scratch_bytes<ForwardScratch>(sizes);
  ctx.parallel(inputs.q.size(0) * heads, [&](i64 pair, int worker) {
    forward_pair(inputs, out, log_sum, pair / heads, pair % heads, sizes,
                 ctx.worker_scratch(worker, bytes));
  });
}

template <typename T>
void attention_bf16_backward(Context& ctx, const AttentionInputs<T>& inputs, View<const T, 4> out,
                             View<const float, 3> log_sum, View<const T, 4> dout, View<T, 4> dq,
                             View<T, 4> dk, View<T, 4> dv) {
  const Sizes sizes(inputs);
  const i64 heads = inputs.q.size(2);
  const std::size_t bytes = scratch_bytes<BackwardScratch>(sizes);
  ctx.parallel(inputs.q.size(0) * heads, [&](i64 index, int worker) {
    const i64 b = index / heads, h = index % heads;
    const PairSlopes<T> pair = {.out = pair_of(out, b, h),
                                .log_sum = log_sum.data() + index * inputs.q.size(1),
                                .dout = pair_of(dout, b, h),
                                .dq = pair_of(dq, b, h),
                                .dk = pair_of(dk, b, h),
                                .dv = pair_of(dv, b, h)};
    backward_pair(inputs, b, h, pair, sizes, ctx.worker_scratch(worker, bytes));
  });
}

}  // namespace orrery::cpu

#else

namespace orrery::cpu {

template <typename T>
void attention_bf16(Context&, const AttentionInputs<T>&, View<T, 4>, View<float, 3>) {
  fail("attention_bf16: this processor has no AVX-512");
}
template <typename T>
void attention_bf16_backward(Context&, const AttentionInputs<T>&, View<const T, 4>,
                             View<const float, 3>, View<const T, 4>, View<T, 4>, View<T, 4>,
                             View<T, 4>) {
  fail("attention_bf16: this processor has no AVX-512");
}

}  // namespace orrery::cpu

#endif

namespace orrery::cpu {

template void attention_bf16(Context&, const AttentionInputs<float>&, View<float, 4>,
                             View<float, 3>);
template void attention_bf16(Context&, const AttentionInputs<bf16>&, View<bf16, 4>, View<float, 3>);
template void attention_bf16_backward(Context&, const AttentionInputs<float>&, View<const float, 4>,
                                      View<const float, 3>, View<const float, 4>, View<float, 4>,
                                      View<float, 4>, View<float, 4>);
template void attention_bf16_backward(Context&, const AttentionInputs<bf16>&, View<const bf16, 4>,
                                      View<const float, 3>, View<const bf16, 4>, View<bf16, 4>,
                                      View<bf16, 4>, View<bf16, 4>);

}  // namespace orrery::cpu
