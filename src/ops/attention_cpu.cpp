#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/attention.h"
#include "ops/cpu_path.h"
#include "ops/pieces.h"

// this file is read once per instruction set, the struct must not be
#ifndef ORRERY_OPS_ATTENTION_ARGUMENTS_
#define ORRERY_OPS_ATTENTION_ARGUMENTS_
namespace orrery::cpu {

// The arguments of both directions. The forward pass writes out and log_sum; the backward pass
// reads them again under the names saved_out and saved_log_sum.
struct AttentionArguments {
  View<const float, 4> q, k, v;
  float scale;
  bool causal;
  View<float, 4> out = {};
  View<float, 3> log_sum = {};
  View<const float, 4> saved_out = {};
  View<const float, 3> saved_log_sum = {};
  View<const float, 4> dout = {};
  View<float, 4> dq = {}, dk = {}, dv = {};

  // keys that query t sees
  i64 seen(i64 t) const { return causal ? t + k.size(1) - q.size(1) + 1 : k.size(1); }
};

// up to this many queries and keys (a predictor's window) a pair is done in registers, without
// copies
inline constexpr i64 kFewTokens = 4;

// queries whose scores are held at once: 96 x 272 keys x 4 bytes = 102 KiB, twice in the backward
// pass, stay in L2
inline constexpr i64 kBlockQueries = 96;

}  // namespace orrery::cpu
#endif  // ORRERY_OPS_ATTENTION_ARGUMENTS_

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/math-inl.h"
#include "ops/small_matrix-inl.h"

HWY_BEFORE_NAMESPACE();
namespace orrery::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

HWY_INLINE i64 LanesOf() { return static_cast<i64>(hn::Lanes(D())); }

// one (batch, head) pair as a matrix [tokens, dim]
template <typename T>
HWY_INLINE View<T, 2> PairOf(View<T, 4> view, i64 b, i64 h) {
  return View<T, 2>(view.data() + b * view.stride(0) + h * view.stride(2),
                    {view.size(1), view.size(3)}, {view.stride(1), 1});
}

// hands out pieces of a worker's scratch, each from a cache line on; on no memory it only counts
struct Carver {
  float* memory;
  i64 used = 0;
  float* take(i64 values) {
    float* piece = memory == nullptr ? nullptr : memory + used;
    used += (values + 15) / 16 * 16;
    return piece;
  }
};

// what one pair needs, padded to whole vectors
struct ForwardScratch {
  float *keys_t, *values, *scores, *result, *factors;

  ForwardScratch(Carver& carver, i64 queries, i64 keys, i64 dim)
      : keys_t(carver.take(dim * RoundUp(keys, LanesOf()))),
        values(carver.take(keys * RoundUp(dim, LanesOf()))),
        scores(carver.take(queries * RoundUp(keys, LanesOf()))),
        result(carver.take(queries * RoundUp(dim, LanesOf()))),
        factors(carver.take(queries)) {}
};

struct BackwardScratch {
  float *keys_t, *values_t, *keys, *queries, *slopes, *p, *dp, *dq, *dk, *dv;

  BackwardScratch(Carver& carver, i64 block, i64 key_count, i64 dim)
      : keys_t(carver.take(dim * RoundUp(key_count, LanesOf()))),
        values_t(carver.take(dim * RoundUp(key_count, LanesOf()))),
        keys(carver.take(key_count * RoundUp(dim, LanesOf()))),
        queries(carver.take(block * RoundUp(dim, LanesOf()))),
        slopes(carver.take(block * RoundUp(dim, LanesOf()))),
        p(carver.take(block * RoundUp(key_count, LanesOf()))),
        dp(carver.take(block * RoundUp(key_count, LanesOf()))),
        dq(carver.take(block * RoundUp(dim, LanesOf()))),
        dk(carver.take(key_count * RoundUp(dim, LanesOf()))),
        dv(carver.take(key_count * RoundUp(dim, LanesOf()))) {}
};

i64 ForwardScratchValues(i64 queries, i64 keys, i64 dim) {
  Carver carver{nullptr};
  ForwardScratch(carver, queries, keys, dim);
  return carver.used;
}

i64 BackwardScratchValues(i64 queries, i64 keys, i64 dim) {
  Carver carver{nullptr};
  BackwardScratch(carver, queries, keys, dim);
  return carver.used;
}

// row[0, seen) <- exp(scale * row - top), top the largest scale * row; beyond, up to padded, zero.
// Returns the sum.
HWY_INLINE float SoftmaxRow(float* row, i64 seen, i64 padded, float scale, float* top) {
  const D d;
  const i64 lanes = LanesOf();
  const auto lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  const auto factor = hn::Set(d, scale);
  const i64 whole = seen / lanes * lanes;
  const auto inside = hn::FirstN(d, static_cast<std::size_t>(seen - whole));

  auto highest = lowest;
  for (i64 s = 0; s < whole; s += lanes)
    highest = hn::Max(highest, hn::Mul(factor, hn::Load(d, row + s)));
  if (whole < seen) {
    highest =
        hn::Max(highest, hn::IfThenElse(inside, hn::Mul(factor, hn::Load(d, row + whole)), lowest));
  }
  const auto shift = hn::MaxOfLanes(d, highest);
  *top = hn::GetLane(shift);

  auto sum = hn::Zero(d);
  for (i64 s = 0; s < whole; s += lanes) {
    const auto p = Exp(d, hn::Sub(hn::Mul(factor, hn::Load(d, row + s)), shift));
    sum = hn::Add(sum, p);
    hn::Store(p, d, row + s);
  }
  i64 s = whole;
  if (s < seen) {
    const auto p =
        hn::IfThenElseZero(inside, Exp(d, hn::Sub(hn::Mul(factor, hn::Load(d, row + s)), shift)));
    sum = hn::Add(sum, p);
    hn::Store(p, d, row + s);
    s += lanes;
  }
  for (; s < padded; s += lanes) hn::Store(hn::Zero(d), d, row + s);
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// to[i] = factor * from[i]
HWY_INLINE void ScaleInto(const float* from, float factor, i64 count, float* to) {
  const D d;
  const auto f = hn::Set(d, factor);
  ForVectors(d, count, [&](i64 i, auto part) HWY_ATTR {
    part.store(hn::Mul(f, part.load(d, from + i)), d, to + i);
  });
}

HWY_INLINE float Dot(const float* a, const float* b, i64 count) {
  const D d;
  auto sum = hn::Zero(d);
  ForVectors(d, count, [&](i64 i, auto part) HWY_ATTR {
    sum = hn::MulAdd(part.load(d, a + i), part.load(d, b + i), sum);
  });
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// Queries [begin, end) of one pair: scores, softmax, sums of values, three passes over what stays
// in L2.
void ForwardBlock(const AttentionArguments& args, i64 b, i64 h, i64 begin, i64 end, float* memory) {
  const auto q = PairOf(args.q, b, h), k = PairOf(args.k, b, h), v = PairOf(args.v, b, h);
  const i64 dim = q.size(1), keys = k.size(0), queries = end - begin;
  const i64 padded_dim = RoundUp(dim, LanesOf()), padded_keys = RoundUp(keys, LanesOf());
  Carver carver{memory};
  const ForwardScratch scratch(carver, queries, keys, dim);
  CopyTransposed(k, padded_keys, scratch.keys_t);
  CopyPadded(v, padded_dim, scratch.values);

  const Left left = {q.data() + begin * q.stride(0), q.stride(0), 1};
  MultiplySmall(left, scratch.keys_t, queries, padded_keys, dim, false, scratch.scores);
  for (i64 t = 0; t < queries; ++t) {
    float top;
    const float sum = SoftmaxRow(scratch.scores + t * padded_keys, args.seen(begin + t),
                                 padded_keys, args.scale, &top);
    scratch.factors[t] = 1.0f / sum;
    if (args.log_sum) args.log_sum(b, h, begin + t) = top + std::log(sum);
  }
  MultiplySmall({scratch.scores, padded_keys, 1}, scratch.values, queries, padded_dim, keys, false,
                scratch.result);
  const auto out = PairOf(args.out, b, h);
  for (i64 t = 0; t < queries; ++t) {
    ScaleInto(scratch.result + t * padded_dim, scratch.factors[t], dim,
              out.data() + (begin + t) * out.stride(0));
  }
}

// All queries of one pair, in blocks; dk and dv collect over the blocks.
void BackwardPair(const AttentionArguments& args, i64 b, i64 h, i64 block, float* memory) {
  const D d;
  const auto q = PairOf(args.q, b, h), k = PairOf(args.k, b, h), v = PairOf(args.v, b, h);
  const auto dout = PairOf(args.dout, b, h);
  const auto out = PairOf(args.saved_out, b, h);
  const auto dq = PairOf(args.dq, b, h), dk = PairOf(args.dk, b, h), dv = PairOf(args.dv, b, h);
  const i64 dim = q.size(1), keys = k.size(0), lanes = LanesOf();
  const i64 padded_dim = RoundUp(dim, lanes), padded_keys = RoundUp(keys, lanes);
  Carver carver{memory};
  const BackwardScratch scratch(carver, block, keys, dim);
  CopyTransposed(k, padded_keys, scratch.keys_t);
  CopyTransposed(v, padded_keys, scratch.values_t);
  CopyPadded(k, padded_dim, scratch.keys);

  for (i64 begin = 0; begin < q.size(0); begin += block) {
    const i64 end = std::min(q.size(0), begin + block), queries = end - begin;
    CopyPadded(q.slice(0, begin, end), padded_dim, scratch.queries);
    CopyPadded(dout.slice(0, begin, end), padded_dim, scratch.slopes);

    // p <- q k^T, dp <- dout v^T; then p <- exp(scale p - log_sum), dp <- scale p (dp - sum p dp)
    MultiplySmall({scratch.queries, padded_dim, 1}, scratch.keys_t, queries, padded_keys, dim,
                  false, scratch.p);
    MultiplySmall({scratch.slopes, padded_dim, 1}, scratch.values_t, queries, padded_keys, dim,
                  false, scratch.dp);
    for (i64 t = 0; t < queries; ++t) {
      const i64 seen = args.seen(begin + t);
      const auto shift = hn::Set(d, args.saved_log_sum(b, h, begin + t));
      // sum_s p dp = <dout, out>: softmax weights sum to one
      const auto mean = hn::Set(
          d, Dot(scratch.slopes + t * padded_dim, out.data() + (begin + t) * out.stride(0), dim));
      const auto factor = hn::Set(d, args.scale);
      float* p_row = scratch.p + t * padded_keys;
      float* dp_row = scratch.dp + t * padded_keys;
      for (i64 s = 0; s < padded_keys; s += lanes) {
        auto p = Exp(d, hn::Sub(hn::Mul(factor, hn::Load(d, p_row + s)), shift));
        if (s + lanes > seen) {
          p = hn::IfThenElseZero(
              hn::FirstN(d, static_cast<std::size_t>(std::max<i64>(0, seen - s))), p);
        }
        const auto dp = hn::Mul(hn::Mul(factor, p), hn::Sub(hn::Load(d, dp_row + s), mean));
        hn::Store(p, d, p_row + s);
        hn::Store(dp, d, dp_row + s);
      }
    }

    const bool later = begin > 0;
    MultiplySmall({scratch.dp, padded_keys, 1}, scratch.keys, queries, padded_dim, keys, false,
                  scratch.dq);
    MultiplySmall({scratch.dp, 1, padded_keys}, scratch.queries, keys, padded_dim, queries, later,
                  scratch.dk);
    MultiplySmall({scratch.p, 1, padded_keys}, scratch.slopes, keys, padded_dim, queries, later,
                  scratch.dv);
    for (i64 t = 0; t < queries; ++t) {
      std::memcpy(dq.data() + (begin + t) * dq.stride(0), scratch.dq + t * padded_dim,
                  static_cast<std::size_t>(dim) * sizeof(float));
    }
  }
  for (i64 s = 0; s < keys; ++s) {
    std::memcpy(dk.data() + s * dk.stride(0), scratch.dk + s * padded_dim,
                static_cast<std::size_t>(dim) * sizeof(float));
    std::memcpy(dv.data() + s * dv.stride(0), scratch.dv + s * padded_dim,
                static_cast<std::size_t>(dim) * sizeof(float));
  }
}

// The softmax weights of a pair of few tokens: p[t * kFewTokens + s], zero where not seen.
HWY_INLINE void FewWeights(const AttentionArguments& args, i64 b, i64 h, float* p, float* log_sum) {
  const D d;
  const auto q = PairOf(args.q, b, h), k = PairOf(args.k, b, h);
  const i64 queries = q.size(0);
  constexpr i64 kAll = kFewTokens * kFewTokens;
  HWY_ALIGN float tops[kFewTokens] = {};
  for (i64 i = 0; i < kAll; ++i) p[i] = -std::numeric_limits<float>::infinity();
  for (i64 t = 0; t < queries; ++t) {
    float top = -std::numeric_limits<float>::infinity();
    for (i64 s = 0; s < args.seen(t); ++s) {
      const float score =
          args.scale * Dot(q.data() + t * q.stride(0), k.data() + s * k.stride(0), q.size(1));
      p[t * kFewTokens + s] = score;
      top = std::max(top, score);
    }
    for (i64 s = 0; s < kFewTokens; ++s) p[t * kFewTokens + s] -= top;
    tops[t] = top;
  }
  // one vector of exponentials for the whole pair where sixteen lanes are
  ForVectors(d, queries * kFewTokens,
             [&](i64 i, auto part) HWY_ATTR { part.store(Exp(d, part.load(d, p + i)), d, p + i); });
  for (i64 t = 0; t < queries; ++t) {
    float sum = 0;
    for (i64 s = 0; s < kFewTokens; ++s) {
      if (s >= args.seen(t)) p[t * kFewTokens + s] = 0;
      sum += p[t * kFewTokens + s];
    }
    for (i64 s = 0; s < kFewTokens; ++s) p[t * kFewTokens + s] /= sum;
    if (log_sum != nullptr) log_sum[t] = tops[t] + std::log(sum);
  }
}

// to[row r] = sum_i weight[r * row + i * step] * from[row i], count terms
HWY_INLINE void FewSums(const float* weight, i64 row, i64 step, View<const float, 2> from,
                        i64 count, View<float, 2> to) {
  const D d;
  for (i64 r = 0; r < to.size(0); ++r) {
    float* out = to.data() + r * to.stride(0);
    ForVectors(d, to.size(1), [&](i64 i, auto part) HWY_ATTR {
      auto sum = hn::Zero(d);
      for (i64 j = 0; j < count; ++j) {
        const auto factor = hn::Set(d, weight[r * row + j * step]);
        sum = hn::MulAdd(factor, part.load(d, from.data() + j * from.stride(0) + i), sum);
      }
      part.store(sum, d, out + i);
    });
  }
}

void ForwardFew(const AttentionArguments& args, i64 b, i64 h) {
  HWY_ALIGN float p[kFewTokens * kFewTokens + hn::MaxLanes(D())];
  float log_sum[kFewTokens];
  FewWeights(args, b, h, p, args.log_sum ? log_sum : nullptr);
  FewSums(p, kFewTokens, 1, PairOf(args.v, b, h), args.k.size(1), PairOf(args.out, b, h));
  for (i64 t = 0; args.log_sum && t < args.q.size(1); ++t) args.log_sum(b, h, t) = log_sum[t];
}

void BackwardFew(const AttentionArguments& args, i64 b, i64 h) {
  HWY_ALIGN float p[kFewTokens * kFewTokens + hn::MaxLanes(D())];
  FewWeights(args, b, h, p, nullptr);
  const auto q = PairOf(args.q, b, h), k = PairOf(args.k, b, h), v = PairOf(args.v, b, h);
  const auto dout = PairOf(args.dout, b, h);
  const i64 dim = q.size(1), queries = q.size(0), keys = k.size(0);

  float dscore[kFewTokens * kFewTokens] = {};
  for (i64 t = 0; t < queries; ++t) {
    float mean = 0;
    for (i64 s = 0; s < args.seen(t); ++s) {
      const float dp = Dot(dout.data() + t * dout.stride(0), v.data() + s * v.stride(0), dim);
      dscore[t * kFewTokens + s] = dp;
      mean += p[t * kFewTokens + s] * dp;
    }
    for (i64 s = 0; s < args.seen(t); ++s) {
      dscore[t * kFewTokens + s] =
          args.scale * p[t * kFewTokens + s] * (dscore[t * kFewTokens + s] - mean);
    }
  }
  FewSums(dscore, kFewTokens, 1, k, keys, PairOf(args.dq, b, h));
  FewSums(dscore, 1, kFewTokens, q, queries, PairOf(args.dk, b, h));
  FewSums(p, 1, kFewTokens, dout, queries, PairOf(args.dv, b, h));
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace orrery::cpu {

HWY_EXPORT(ForwardScratchValues);
HWY_EXPORT(BackwardScratchValues);
HWY_EXPORT(ForwardBlock);
HWY_EXPORT(BackwardPair);
HWY_EXPORT(ForwardFew);
HWY_EXPORT(BackwardFew);

namespace {

// blocks of nearly equal size: 65 queries are one block, not 64 and 1
i64 block_of(i64 queries) {
  const i64 blocks = (queries + kBlockQueries - 1) / kBlockQueries;
  return (queries + blocks - 1) / blocks;
}

bool few_tokens(const AttentionArguments& args) {
  return args.q.size(1) <= kFewTokens && args.k.size(1) <= kFewTokens;
}

// pairs of few tokens that one task does: some microseconds
constexpr i64 kFewPairsPerTask = 64;

}  // namespace

void attention(Context& ctx, View<const float, 4> q, View<const float, 4> k, View<const float, 4> v,
               float scale, bool causal, View<float, 4> out, View<float, 3> log_sum) {
  const AttentionArguments args = {
      .q = q, .k = k, .v = v, .scale = scale, .causal = causal, .out = out, .log_sum = log_sum};
  const i64 queries = q.size(1), heads = q.size(2), pairs = q.size(0) * heads;
  if (queries == 0) return;
  if (few_tokens(args)) {
    const auto kernel = ORRERY_KERNEL(ForwardFew);
    ctx.parallel_ranges(pairs, kFewPairsPerTask, [&](i64 begin, i64 end, int) {
      for (i64 pair = begin; pair < end; ++pair) kernel(args, pair / heads, pair % heads);
    });
    return;
  }
  const auto kernel = ORRERY_KERNEL(ForwardBlock);
  const i64 block = block_of(queries), blocks = (queries + block - 1) / block;
  const std::size_t bytes =
      static_cast<std::size_t>(ORRERY_KERNEL(ForwardScratchValues)(block, k.size(1), q.size(3))) *
      sizeof(float);
  ctx.parallel(pairs * blocks, [&](i64 task, int worker) {
    const i64 pair = task / blocks, begin = task % blocks * block;
    kernel(args, pair / heads, pair % heads, begin, std::min(queries, begin + block),
           reinterpret_cast<float*>(ctx.worker_scratch(worker, bytes)));
  });
}

void attention_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                        View<const float, 4> v, float scale, bool causal, View<const float, 4> out,
                        View<const float, 3> log_sum, View<const float, 4> dout, View<float, 4> dq,
                        View<float, 4> dk, View<float, 4> dv) {
  const AttentionArguments args = {.q = q,
                                   .k = k,
                                   .v = v,
                                   .scale = scale,
                                   .causal = causal,
                                   .saved_out = out,
                                   .saved_log_sum = log_sum,
                                   .dout = dout,
                                   .dq = dq,
                                   .dk = dk,
                                   .dv = dv};
  const i64 heads = q.size(2), pairs = q.size(0) * heads;
  if (few_tokens(args)) {
    const auto kernel = ORRERY_KERNEL(BackwardFew);
    ctx.parallel_ranges(pairs, kFewPairsPerTask, [&](i64 begin, i64 end, int) {
      for (i64 pair = begin; pair < end; ++pair) kernel(args, pair / heads, pair % heads);
    });
    return;
  }
  const auto kernel = ORRERY_KERNEL(BackwardPair);
  const i64 block = std::max<i64>(1, block_of(std::max<i64>(1, q.size(1))));
  const std::size_t bytes =
      static_cast<std::size_t>(ORRERY_KERNEL(BackwardScratchValues)(block, k.size(1), q.size(3))) *
      sizeof(float);
  ctx.parallel(pairs, [&](i64 pair, int worker) {
    kernel(args, pair / heads, pair % heads, block,
           reinterpret_cast<float*>(ctx.worker_scratch(worker, bytes)));
  });
}

}  // namespace orrery::cpu
#endif  // HWY_ONCE
