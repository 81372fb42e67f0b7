// The backward pass of attention in f32. Two kernels of one shape: blocks that own queries make dq,
// blocks that own keys make dk and dv, each from scores and slopes that it computes again from the
// log-sums of the forward pass. So nothing is added up across blocks, and nothing of size queries x
// keys ever lies in memory.
// source of the scheme: Dao, "FlashAttention-2: faster attention with better parallelism and work
// partitioning", 2023

#include "device/ptx.h"
#include "ops/attention_device.h"

namespace orrery::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;

// delta[b, h, t] = sum of dout * out. Memory-bound: reads both once; one warp a row.
template <typename T, bool kAligned>
__global__ void attention_delta_kernel(View<const T, 4> out, View<const T, 4> dout, float* delta) {
  const i64 row = static_cast<i64>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const i64 queries = out.size(1), heads = out.size(2), dim = out.size(3);
  if (row >= out.size(0) * heads * queries) return;
  const i64 t = row % queries, h = row / queries % heads, b = row / queries / heads;
  const T* left = PairRows<const T>(out, b, h)[t];
  const T* right = PairRows<const T>(dout, b, h)[t];
  const i64 k = 4 * static_cast<i64>(threadIdx.x % kWarp);
  float sum = 0;
  if (k < dim) {
    sum = dot(load_four<kAligned>(left + k, dim - k), load_four<kAligned>(right + k, dim - k));
  }
  sum = group_sum(sum);
  if (threadIdx.x % kWarp == 0) delta[row] = sum;
}

// a block owns kOwn rows and meets the others in tiles of kOther; a thread has rows kRows ty onward
// and columns tx + 8 j of the scores, and kRows x kDim / 8 of each result
constexpr int kRows = 2;
constexpr int kOwn = kThreads / 8 * kRows;
constexpr int kOther = 64;
constexpr int kScoreStride = kOther + 4;

template <int kDim>
constexpr std::size_t kTileFloats = static_cast<std::size_t>(2 * (kOwn + kOther)) * (kDim + 4);
template <int kDim, bool kOwnsKeys>
constexpr std::size_t kSharedBytes =
    (kTileFloats<kDim> + (kOwnsKeys ? 2 : 1) * static_cast<std::size_t>(kOwn * kScoreStride)) *
    sizeof(float);

// products of own rows with the other tile's: what scores and slopes of p are
template <int kDim>
__device__ inline void multiply_rows(const float* own, const float* other,
                                     float (&product)[kRows][8]) {
  constexpr int kStride = kDim + 4;
#pragma unroll 4
  for (int d = 0; d < kDim; d += 4) {
    Four left[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) left[i] = load_four<true>(own + i * kStride + d, 4);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const Four right = load_four<true>(other + 8 * j * kStride + d, 4);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
#pragma unroll
        for (int n = 0; n < 4; ++n) product[i][j] = fmaf(left[i].v[n], right.v[n], product[i][j]);
      }
    }
  }
}

// total += weights (this thread's rows) times the rows of a tile
template <int kDim>
__device__ inline void add_rows(const float* weights, const float* tile, int tx,
                                Four (&total)[kRows][kDim / 32]) {
  constexpr int kStride = kDim + 4;
#pragma unroll 2
  for (int s = 0; s < kOther; s += 4) {
    Four weight[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) weight[i] = load_four<true>(weights + i * kScoreStride + s, 4);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int m = 0; m < kDim / 32; ++m) {
        const Four value = load_four<true>(tile + (s + n) * kStride + 32 * m + 4 * tx, 4);
#pragma unroll
        for (int i = 0; i < kRows; ++i) add_weighted(value, weight[i].v[n], total[i][m]);
      }
    }
  }
}

// Bound by fused multiply-adds: 6 (8 where keys are owned) x kOwn x 64 x kDim operations on every
// 2 x 64 rows read, from L2 but for the first block of a pair. One block per kOwn queries or keys
// of a pair.
template <bool kOwnsKeys, int kDim, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    attention_backward_kernel(AttentionBackward<float> pass) {
  constexpr int kStride = kDim + 4, kFours = kDim / 32;
  // own rows: q and dout, or k and v; the others: k and v, or q and dout
  float* own_first = dynamic_shared<float>();
  float* own_second = own_first + kOwn * kStride;
  float* first = own_second + kOwn * kStride;
  float* second = first + kOther * kStride;
  float* dscores = second + kOther * kStride;
  float* weights = dscores + kOwn * kScoreStride;  // where keys are owned

  const i64 queries = pass.q.size(1), keys = pass.k.size(1), heads = pass.q.size(2);
  const i64 owned = kOwnsKeys ? keys : queries, others = kOwnsKeys ? queries : keys;
  const i64 blocks = (owned + kOwn - 1) / kOwn;
  const i64 pair = blockIdx.x / blocks, first_own = blockIdx.x % blocks * kOwn;
  const i64 b = pair / heads, h = pair % heads;
  const int tx = static_cast<int>(threadIdx.x) % 8, ty = static_cast<int>(threadIdx.x) / 8;
  const PairRows<const float> q(pass.q, b, h), k(pass.k, b, h), v(pass.v, b, h),
      dout(pass.dout, b, h);
  const float* log_sum =
      pass.log_sum.data() + b * pass.log_sum.stride(0) + h * pass.log_sum.stride(1);
  const float* delta = pass.delta.data() + (b * heads + h) * queries;

  // which of the others meet these
  i64 begin = 0, end = others;
  if constexpr (kOwnsKeys) {
    if (pass.causal && first_own > keys - queries) begin = first_own - (keys - queries);
  } else {
    const i64 last = first_own + kOwn < queries ? first_own + kOwn : queries;
    end = pass.seen(last - 1);
  }

  load_floats<kThreads, kOwn, kDim, kAligned>(kOwnsKeys ? k : q, first_own, owned, pass.dim(),
                                              own_first);
  load_floats<kThreads, kOwn, kDim, kAligned>(kOwnsKeys ? v : dout, first_own, owned, pass.dim(),
                                              own_second);
  Four total_first[kRows][kFours], total_second[kRows][kFours];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int m = 0; m < kFours; ++m) total_first[i][m] = total_second[i][m] = {};
  }

  for (i64 other = begin; other < end; other += kOther) {
    __syncthreads();  // the tiles of the round before have been read
    load_floats<kThreads, kOther, kDim, kAligned>(kOwnsKeys ? q : k, other, others, pass.dim(),
                                                  first);
    load_floats<kThreads, kOther, kDim, kAligned>(kOwnsKeys ? dout : v, other, others, pass.dim(),
                                                  second);
    __syncthreads();

    float score[kRows][8] = {}, slope[kRows][8] = {};
    multiply_rows<kDim>(own_first + kRows * ty * kStride, first + tx * kStride, score);
    multiply_rows<kDim>(own_second + kRows * ty * kStride, second + tx * kStride, slope);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const i64 mine = first_own + kRows * ty + i;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const i64 theirs = other + tx + 8 * j;
        const i64 query = kOwnsKeys ? theirs : mine, key = kOwnsKeys ? mine : theirs;
        float weight = 0, dscore = 0;
        if (query < queries && key < pass.seen(query)) {
          weight = expf(fmaf(pass.scale, score[i][j], -log_sum[query * pass.log_sum.stride(2)]));
          dscore = pass.scale * weight * (slope[i][j] - delta[query]);
        }
        const int place = (kRows * ty + i) * kScoreStride + tx + 8 * j;
        dscores[place] = dscore;
        if constexpr (kOwnsKeys) weights[place] = weight;
      }
    }
    __syncthreads();
    add_rows<kDim>(dscores + kRows * ty * kScoreStride, first, tx, total_first);
    if constexpr (kOwnsKeys) {
      add_rows<kDim>(weights + kRows * ty * kScoreStride, second, tx, total_second);
    }
  }

  const PairRows<float> dfirst(kOwnsKeys ? pass.dk : pass.dq, b, h), dsecond(pass.dv, b, h);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const i64 row = first_own + kRows * ty + i;
    if (row >= owned) continue;
#pragma unroll
    for (int m = 0; m < kFours; ++m) {
      const i64 column = 32 * m + 4 * tx;
      if (column >= pass.dim()) continue;
      store_four<kAligned>(total_first[i][m], dfirst[row] + column, pass.dim() - column);
      if constexpr (kOwnsKeys) {
        store_four<kAligned>(total_second[i][m], dsecond[row] + column, pass.dim() - column);
      }
    }
  }
}

template <bool kOwnsKeys, int kDim>
void run_tiles(Context& ctx, const AttentionBackward<float>& pass) {
  const i64 owned = kOwnsKeys ? pass.k.size(1) : pass.q.size(1);
  const Launch shape = {"attention_backward",
                        dim3(static_cast<unsigned>(pass.pairs() * ((owned + kOwn - 1) / kOwn))),
                        dim3(kThreads), kSharedBytes<kDim, kOwnsKeys>};
  launch(ctx, shape,
         in_pieces(pass, 4) ? attention_backward_kernel<kOwnsKeys, kDim, true>
                            : attention_backward_kernel<kOwnsKeys, kDim, false>,
         pass);
}

template <int kDim>
void run_both(Context& ctx, const AttentionBackward<float>& pass) {
  run_tiles<true, kDim>(ctx, pass);
  run_tiles<false, kDim>(ctx, pass);
}

}  // namespace

template <typename T>
void take_delta(Context& ctx, AttentionBackward<T>& pass) {
  const i64 rows = pass.pairs() * pass.q.size(1);
  auto* memory =
      reinterpret_cast<float*>(ctx.shared_scratch(static_cast<std::size_t>(rows) * sizeof(float)));
  pass.delta = View<float, 3>(memory, {pass.q.size(0), pass.q.size(2), pass.q.size(1)});
  const bool aligned = in_pieces(pass.out, 4) && in_pieces(pass.dout, 4);
  launch(ctx, {"attention_backward", dim3(blocks_for(rows, kWarps)), dim3(kThreads)},
         aligned ? attention_delta_kernel<T, true> : attention_delta_kernel<T, false>, pass.out,
         pass.dout, memory);
}

template void take_delta(Context&, AttentionBackward<float>&);
template void take_delta(Context&, AttentionBackward<bf16>&);

void attention_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                        View<const float, 4> v, float scale, bool causal, View<const float, 4> out,
                        View<const float, 3> log_sum, View<const float, 4> dout, View<float, 4> dq,
                        View<float, 4> dk, View<float, 4> dv) {
  AttentionBackward<float> pass = {q, k, v, scale, causal, out, log_sum, dout, dq, dk, dv, {}};
  if (pass.pairs() == 0 || q.size(1) == 0 || pass.dim() == 0) return;
  if (q.size(1) <= kLongestWindow && k.size(1) <= kLongestWindow) {
    return window_attention_backward(ctx, {}, pass);
  }
  take_delta(ctx, pass);
  if (pass.dim() <= 32) return run_both<32>(ctx, pass);
  if (pass.dim() <= 64) return run_both<64>(ctx, pass);
  run_both<128>(ctx, pass);
}

}  // namespace orrery::cuda
