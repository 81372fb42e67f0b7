// Attention in three shapes: a predictor's window in registers, a few queries that share their keys
// among warps (the CLS token), and an image's tokens in tiles of shared memory.

#include "ops/attention.h"

#include <limits>

#include "device/ptx.h"
#include "ops/attention_device.h"

namespace orrery::cuda {

namespace {

// what one lane holds: a head's row of up to 32 x 4 values, over 8, 16 or 32 lanes
constexpr int kThreads = 128;

// up to this many queries and keys a pair is done in registers
constexpr int kWindow = 4;

// Memory-bound: reads q, k and v once, writes out once. One (batch, head) pair is kLanes lanes,
// which hold the window's keys and values, four numbers of each.
template <typename T, int kLanes, bool kAligned>
__global__ void window_kernel(AttentionPass<T> pass) {
  constexpr int kGroups = kThreads / kLanes;
  const i64 index = static_cast<i64>(blockIdx.x) * kGroups + threadIdx.x / kLanes;
  // every lane of a warp takes part in its sums, also where its group has no pair
  const i64 pair = index < pass.pairs() ? index : pass.pairs() - 1;
  const i64 heads = pass.q.size(2);
  const i64 b = pair / heads, h = pair % heads;
  const i64 begin = 4 * static_cast<i64>(threadIdx.x % kLanes);
  const i64 left = pass.dim() - begin;
  const int queries = static_cast<int>(pass.q.size(1)), keys = static_cast<int>(pass.k.size(1));

  const PairRows<const T> q(pass.q, b, h), k(pass.k, b, h), v(pass.v, b, h);
  const PairRows<T> out(pass.out, b, h);
  const auto part = [&](const PairRows<const T>& rows, i64 t) {
    return left > 0 ? load_four<kAligned>(rows[t] + begin, left) : Four{};
  };
  Four key[kWindow], value[kWindow];
#pragma unroll
  for (int s = 0; s < kWindow; ++s) {
    if (s < keys) {
      key[s] = part(k, s);
      value[s] = part(v, s);
    }
  }

  for (int t = 0; t < queries; ++t) {
    const Four query = part(q, t);
    const int seen = static_cast<int>(pass.seen(t));
    float score[kWindow];
    float top = -std::numeric_limits<float>::infinity();
#pragma unroll
    for (int s = 0; s < kWindow; ++s) {
      if (s >= seen) continue;
      score[s] = pass.scale * group_sum<kLanes>(dot(query, key[s]));
      top = fmaxf(top, score[s]);
    }
    float sum = 0;
    Four total = {};
#pragma unroll
    for (int s = 0; s < kWindow; ++s) {
      if (s >= seen) continue;
      const float weight = expf(score[s] - top);
      sum += weight;
      add_weighted(value[s], weight, total);
    }
    if (index >= pass.pairs()) continue;
    multiply(1.0f / sum, total);
    if (left > 0) store_four<kAligned>(total, out[t] + begin, left);
    if (begin == 0 && pass.log_sum) pass.log_sum(b, h, t) = top + logf(sum);
  }
}

// up to this many queries each is a block of its own
constexpr i64 kFewQueries = 4;
// keys that a group of lanes takes at once: eight loads are then under way
constexpr int kKeysAtOnce = 4;

// Memory-bound for the CLS token over its frame: reads k and v once. One block per query and pair;
// its groups of kLanes lanes share the keys, each with a softmax of its own, and put them together
// in a fixed order.
template <typename T, int kLanes, bool kAligned>
__global__ void few_queries_kernel(AttentionPass<T> pass) {
  constexpr int kGroups = kThreads / kLanes;
  __shared__ float tops[kGroups], sums[kGroups];
  __shared__ float totals[kGroups][4 * kLanes];
  const i64 queries = pass.q.size(1), heads = pass.q.size(2);
  const i64 t = blockIdx.x % queries, pair = blockIdx.x / queries;
  const i64 b = pair / heads, h = pair % heads;
  const int group = static_cast<int>(threadIdx.x) / kLanes;
  const i64 begin = 4 * static_cast<i64>(threadIdx.x % kLanes);
  const i64 left = pass.dim() - begin;
  const i64 seen = pass.seen(t);

  const PairRows<const T> q(pass.q, b, h), k(pass.k, b, h), v(pass.v, b, h);
  const auto part = [&](const PairRows<const T>& rows, i64 row) {
    return left > 0 ? load_four<kAligned>(rows[row] + begin, left) : Four{};
  };
  const Four query = part(q, t);
  float top = -std::numeric_limits<float>::infinity();
  float sum = 0;
  Four total = {};
  for (i64 first = 0; first < seen; first += kGroups * kKeysAtOnce) {
    const i64 own = first + group * kKeysAtOnce;
    Four key[kKeysAtOnce], value[kKeysAtOnce];
#pragma unroll
    for (int n = 0; n < kKeysAtOnce; ++n) {
      key[n] = own + n < seen ? part(k, own + n) : Four{};
      value[n] = own + n < seen ? part(v, own + n) : Four{};
    }
    float score[kKeysAtOnce];
    float highest = top;
#pragma unroll
    for (int n = 0; n < kKeysAtOnce; ++n) {
      score[n] = pass.scale * group_sum<kLanes>(dot(query, key[n]));
      if (own + n < seen) highest = fmaxf(highest, score[n]);
    }
    if (own >= seen)
      continue;  // the last round: these lanes have no key, but took part in the sums
    const float kept = expf(top - highest);
    top = highest;
    sum *= kept;
    multiply(kept, total);
#pragma unroll
    for (int n = 0; n < kKeysAtOnce; ++n) {
      const float weight = own + n < seen ? expf(score[n] - top) : 0.0f;
      sum += weight;
      add_weighted(value[n], weight, total);
    }
  }

  if (begin == 0) {
    tops[group] = top;
    sums[group] = sum;
  }
#pragma unroll
  for (int n = 0; n < 4; ++n) totals[group][begin + n] = total.v[n];
  __syncthreads();
  const i64 place = threadIdx.x;
  if (place >= pass.dim()) return;
  float highest = tops[0];
#pragma unroll
  for (int g = 1; g < kGroups; ++g) highest = fmaxf(highest, tops[g]);
  float all = 0, result = 0;
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    // a group without keys has a top of minus infinity and counts nothing
    const float share = expf(tops[g] - highest);
    all = fmaf(share, sums[g], all);
    result = fmaf(share, totals[g][place], result);
  }
  PairRows<T>(pass.out, b, h)[t][place] = T(result / all);
  if (place == 0 && pass.log_sum) pass.log_sum(b, h, t) = highest + logf(all);
}

// Tiles of float: kQueries queries meet 64 keys. A thread has kRows x 8 scores, rows kRows ty
// onward and columns tx + 8 j, and kRows x kDim / 8 of the result: with four rows each value read
// from shared memory serves 4 to 8 fused multiply-adds. One row a thread makes four times the
// blocks, for the few pairs of a single frame. A row's sums do not depend on it.
constexpr int kKeys = 64;
constexpr int kScoreStride = kKeys + 4;
template <int kRows>
constexpr int kQueries = kThreads / 8 * kRows;
// blocks of four rows a thread below which one row is taken: about a large device's multiprocessors
constexpr i64 kFewBlocks = 128;

// Bound by fused multiply-adds: 4 x kQueries x 64 x kDim operations on every 64 rows of keys and
// values read (from L2 but for the first block of a pair). One block per kQueries queries of a
// pair.
template <int kRows, int kDim, bool kAligned>
__global__ void __launch_bounds__(kThreads) tile_kernel(AttentionPass<float> pass) {
  constexpr int kStride = kDim + 4;
  constexpr int kOwn = kDim / 32;  // fours of a row of the result that a thread has
  float* query_tile = dynamic_shared<float>();
  float* key_tile = query_tile + kQueries<kRows> * kStride;  // then the values of the same keys
  float* weights = key_tile + kKeys * kStride;

  const i64 queries = pass.q.size(1), keys = pass.k.size(1), heads = pass.q.size(2);
  const i64 blocks = (queries + kQueries<kRows> - 1) / kQueries<kRows>;
  const i64 pair = blockIdx.x / blocks, first_query = blockIdx.x % blocks * kQueries<kRows>;
  const i64 b = pair / heads, h = pair % heads;
  const int tx = static_cast<int>(threadIdx.x) % 8, ty = static_cast<int>(threadIdx.x) / 8;
  const PairRows<const float> q(pass.q, b, h), k(pass.k, b, h), v(pass.v, b, h);
  const i64 end = first_query + kQueries<kRows>;
  const i64 last_query = end < queries ? end - 1 : queries - 1;
  const i64 key_end = pass.seen(last_query);

  load_floats<kThreads, kQueries<kRows>, kDim, kAligned>(q, first_query, queries, pass.dim(),
                                                         query_tile);
  float top[kRows], sum[kRows];
  Four total[kRows][kOwn];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    top[i] = -std::numeric_limits<float>::infinity();
    sum[i] = 0;
#pragma unroll
    for (int m = 0; m < kOwn; ++m) total[i][m] = {};
  }

  for (i64 first_key = 0; first_key < key_end; first_key += kKeys) {
    __syncthreads();  // the values of the round before have been read
    load_floats<kThreads, kKeys, kDim, kAligned>(k, first_key, keys, pass.dim(), key_tile);
    __syncthreads();

    float score[kRows][8] = {};
#pragma unroll 4
    for (int d = 0; d < kDim; d += 4) {
      Four left[kRows];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        left[i] = load_four<true>(query_tile + (kRows * ty + i) * kStride + d, 4);
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const Four right = load_four<true>(key_tile + (tx + 8 * j) * kStride + d, 4);
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
#pragma unroll
          for (int n = 0; n < 4; ++n) score[i][j] = fmaf(left[i].v[n], right.v[n], score[i][j]);
        }
      }
    }

#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const i64 row = first_query + kRows * ty + i;
      const i64 seen = pass.seen(row < queries ? row : queries - 1) - first_key;
      float highest = top[i];
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        score[i][j] =
            tx + 8 * j < seen ? pass.scale * score[i][j] : -std::numeric_limits<float>::infinity();
        highest = fmaxf(highest, score[i][j]);
      }
      // a row sees at least key 0, so from the first round on this is finite
      highest = group_max<8>(highest);
      const float kept = expf(top[i] - highest);
      top[i] = highest;
      sum[i] *= kept;
#pragma unroll
      for (int m = 0; m < kOwn; ++m) multiply(kept, total[i][m]);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const float weight = expf(score[i][j] - highest);
        sum[i] += weight;
        weights[(kRows * ty + i) * kScoreStride + tx + 8 * j] = weight;
      }
    }
    __syncthreads();  // the keys have been read
    load_floats<kThreads, kKeys, kDim, kAligned>(v, first_key, keys, pass.dim(), key_tile);
    __syncthreads();

#pragma unroll 2
    for (int s = 0; s < kKeys; s += 4) {
      Four weight[kRows];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        weight[i] = load_four<true>(weights + (kRows * ty + i) * kScoreStride + s, 4);
      }
#pragma unroll
      for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int m = 0; m < kOwn; ++m) {
          const Four value = load_four<true>(key_tile + (s + n) * kStride + 32 * m + 4 * tx, 4);
#pragma unroll
          for (int i = 0; i < kRows; ++i) add_weighted(value, weight[i].v[n], total[i][m]);
        }
      }
    }
  }

  const PairRows<float> out(pass.out, b, h);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const i64 row = first_query + kRows * ty + i;
    const float all = group_sum<8>(sum[i]);
    if (row >= queries) continue;
    const float factor = 1.0f / all;
#pragma unroll
    for (int m = 0; m < kOwn; ++m) {
      const i64 column = 32 * m + 4 * tx;
      multiply(factor, total[i][m]);
      if (column < pass.dim()) {
        store_four<kAligned>(total[i][m], out[row] + column, pass.dim() - column);
      }
    }
    if (tx == 0 && pass.log_sum) pass.log_sum(b, h, row) = top[i] + logf(all);
  }
}

template <int kRows, int kDim>
void attention_tiles(Context& ctx, const AttentionPass<float>& pass, i64 blocks) {
  const std::size_t shared_bytes = static_cast<std::size_t>((kQueries<kRows> + kKeys) * (kDim + 4) +
                                                            kQueries<kRows> * kScoreStride) *
                                   sizeof(float);
  const auto kernel =
      in_pieces(pass, 4) ? tile_kernel<kRows, kDim, true> : tile_kernel<kRows, kDim, false>;
  launch(ctx, {"attention", dim3(static_cast<unsigned>(blocks)), dim3(kThreads), shared_bytes},
         kernel, pass);
}

template <int kDim>
void attention_tiles(Context& ctx, const AttentionPass<float>& pass) {
  const auto blocks = [&](i64 queries) {
    return pass.pairs() * ((pass.q.size(1) + queries - 1) / queries);
  };
  const i64 large = blocks(kQueries<4>);
  if (large >= kFewBlocks) return attention_tiles<4, kDim>(ctx, pass, large);
  attention_tiles<1, kDim>(ctx, pass, blocks(kQueries<1>));
}

void attention_many(Context& ctx, const AttentionPass<float>& pass) {
  if (pass.dim() <= 32) return attention_tiles<32>(ctx, pass);
  if (pass.dim() <= 64) return attention_tiles<64>(ctx, pass);
  attention_tiles<128>(ctx, pass);
}

void attention_many(Context& ctx, const AttentionPass<bf16>& pass) { attention_mma(ctx, pass); }

template <typename T, int kLanes>
void attention_in_lanes(Context& ctx, const AttentionPass<T>& pass, bool window) {
  const bool aligned = in_pieces(pass, 4);
  if (window) {
    const auto kernel = aligned ? window_kernel<T, kLanes, true> : window_kernel<T, kLanes, false>;
    launch(ctx, {"attention", dim3(blocks_for(pass.pairs(), kThreads / kLanes)), dim3(kThreads)},
           kernel, pass);
  } else {
    const auto kernel =
        aligned ? few_queries_kernel<T, kLanes, true> : few_queries_kernel<T, kLanes, false>;
    launch(
        ctx,
        {"attention", dim3(static_cast<unsigned>(pass.pairs() * pass.q.size(1))), dim3(kThreads)},
        kernel, pass);
  }
}

template <typename T>
void attend(Context& ctx, const AttentionPass<T>& pass) {
  const i64 queries = pass.q.size(1);
  if (pass.pairs() == 0 || queries == 0 || pass.dim() == 0) return;
  if (queries > kFewQueries) return attention_many(ctx, pass);
  const bool window = pass.k.size(1) <= kWindow;
  if (pass.dim() <= 32) return attention_in_lanes<T, 8>(ctx, pass, window);
  if (pass.dim() <= 64) return attention_in_lanes<T, 16>(ctx, pass, window);
  attention_in_lanes<T, 32>(ctx, pass, window);
}

}  // namespace

void attention(Context& ctx, View<const float, 4> q, View<const float, 4> k, View<const float, 4> v,
               float scale, bool causal, View<float, 4> out, View<float, 3> log_sum) {
  attend(ctx, AttentionPass<float>{q, k, v, scale, causal, out, log_sum});
}

void attention(Context& ctx, View<const bf16, 4> q, View<const bf16, 4> k, View<const bf16, 4> v,
               float scale, bool causal, View<bf16, 4> out, View<float, 3> log_sum) {
  attend(ctx, AttentionPass<bf16>{q, k, v, scale, causal, out, log_sum});
}

}  // namespace orrery::cuda
