// The backward pass of attention on the tensor cores, of bf16 rows or of floats that are rounded on
// their way: attention_backward.cu's two kernels with products of 16 x 8. A warp owns 16 rows;
// scores and slopes of p stay in its registers, where what one product leaves is laid out as the
// next one's left side wants it.

#include <type_traits>

#include "ops/attention_bf16.h"
#include "ops/attention_mma_device.h"

namespace orrery::cuda {

namespace {

constexpr int kThreads = kMmaThreads;
constexpr int kOwn = 16 * kThreads / kWarp;
// rows met at a time: with wide heads fewer, so that scores and results fit the registers
template <int kDim>
constexpr int kOther = kDim > 64 ? 32 : 64;

// Bound by the tensor cores at many pairs: 6 (8 where keys are owned) x 64 x 64 x kDim operations
// on 2 x 64 rows of the others, which come from L2 but for the first block of a pair. One
// block per 64 queries or keys of a pair.
template <typename T, bool kOwnsKeys, int kDim, bool kAligned>
__global__ void __launch_bounds__(kThreads) mma_backward_kernel(AttentionBackward<T> pass) {
  constexpr int kRows = kOther<kDim>;
  // own rows: q and dout, or k and v; the others: k and v, or q and dout
  bf16* own_first = dynamic_shared<bf16>();
  bf16* own_second = own_first + kOwn * kStride<kDim>;
  bf16* first = own_second + kOwn * kStride<kDim>;
  bf16* second = first + kRows * kStride<kDim>;
  // of the queries met, where keys are owned
  __shared__ float log_sums[kOwnsKeys ? kRows : 1], deltas[kOwnsKeys ? kRows : 1];

  const i64 queries = pass.q.size(1), keys = pass.k.size(1), heads = pass.q.size(2);
  const i64 owned = kOwnsKeys ? keys : queries, others = kOwnsKeys ? queries : keys;
  const i64 blocks = (owned + kOwn - 1) / kOwn;
  const i64 pair = blockIdx.x / blocks, first_own = blockIdx.x % blocks * kOwn;
  const i64 b = pair / heads, h = pair % heads;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int g = lane / 4, t = lane % 4;  // as in the tables of device/ptx.h
  const PairRows<const T> q(pass.q, b, h), k(pass.k, b, h), v(pass.v, b, h), dout(pass.dout, b, h);
  const float* log_sum = pass.log_sum.data() + (b * heads + h) * queries;
  const float* delta = pass.delta.data() + (b * heads + h) * queries;

  // which of the others meet these
  i64 begin = 0, end = others;
  if constexpr (kOwnsKeys) {
    if (pass.causal && first_own > keys - queries) begin = first_own - (keys - queries);
  } else {
    const i64 last = first_own + kOwn < queries ? first_own + kOwn : queries;
    end = pass.seen(last - 1);
  }
  const bool has_rows = first_own + 16 * warp < owned;  // the same for the whole warp
  const i64 rows[2] = {first_own + 16 * warp + g, first_own + 16 * warp + g + 8};
  float own_log_sum[2] = {}, own_delta[2] = {};
  if constexpr (!kOwnsKeys) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (rows[i] >= queries) continue;
      own_log_sum[i] = kLog2E * log_sum[rows[i]];
      own_delta[i] = delta[rows[i]];
    }
  }

  load_bf16<kOwn, kDim, kAligned>(kOwnsKeys ? k : q, first_own, owned, pass.dim(), own_first);
  load_bf16<kOwn, kDim, kAligned>(kOwnsKeys ? v : dout, first_own, owned, pass.dim(), own_second);
  float total_first[kDim / 8][4] = {}, total_second[kOwnsKeys ? kDim / 8 : 1][4] = {};
  const float factor = pass.scale * kLog2E;  // exp(x) = 2^(x log2 e)

#pragma unroll 1
  for (i64 other = begin; other < end; other += kRows) {
    __syncthreads();  // the tiles of the round before have been read
    load_bf16<kRows, kDim, kAligned>(kOwnsKeys ? q : k, other, others, pass.dim(), first);
    load_bf16<kRows, kDim, kAligned>(kOwnsKeys ? dout : v, other, others, pass.dim(), second);
    if constexpr (kOwnsKeys) {
      const i64 query = other + threadIdx.x;
      if (threadIdx.x < kRows) {
        log_sums[threadIdx.x] = query < queries ? kLog2E * log_sum[query] : 0.0f;
        deltas[threadIdx.x] = query < queries ? delta[query] : 0.0f;
      }
    }
    cp_async_wait_all();  // of rows that are bf16 as they come
    __syncthreads();
    if (!has_rows) continue;

    // scores, and slopes of p; 16 of the others at a time, as far as there are any
    float score[kRows / 8][4] = {}, slope[kRows / 8][4] = {};
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
      u32 left[4], right[4];
      const int place = (16 * warp + lane % 16) * kStride<kDim> + 16 * d + lane / 16 * 8;
      ldmatrix_x4(left, own_first + place);
      ldmatrix_x4(right, own_second + place);
#pragma unroll
      for (int j = 0; j < kRows / 16; ++j) {
        if (other + 16 * j >= end) continue;
        const int from =
            (16 * j + lane / 16 * 8 + lane % 8) * kStride<kDim> + 16 * d + lane / 8 % 2 * 8;
        const auto multiply_pair = [&](const bf16* tile, const u32(&a)[4], float(&low)[4],
                                       float(&high)[4]) {
          u32 parts[4];
          ldmatrix_x4(parts, tile + from);
          const u32 upper[2] = {parts[0], parts[1]}, lower[2] = {parts[2], parts[3]};
          mma_m16n8k16_bf16(low, a, upper);
          mma_m16n8k16_bf16(high, a, lower);
        };
        multiply_pair(first, left, score[2 * j], score[2 * j + 1]);
        multiply_pair(second, right, slope[2 * j], slope[2 * j + 1]);
      }
    }

    // p and the scores' slopes (without their scale), in place
#pragma unroll
    for (int j = 0; j < kRows / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = 8 * j + 2 * t + e % 2;
        const i64 mine = rows[e / 2], theirs = other + column;
        const i64 query = kOwnsKeys ? theirs : mine, key = kOwnsKeys ? mine : theirs;
        const float top = kOwnsKeys ? log_sums[column] : own_log_sum[e / 2];
        const float mean = kOwnsKeys ? deltas[column] : own_delta[e / 2];
        const bool valid = query < queries && key < pass.seen(query);
        const float weight = valid ? exp2f(fmaf(factor, score[j][e], -top)) : 0.0f;
        score[j][e] = weight;
        slope[j][e] = weight * (slope[j][e] - mean);
      }
    }

#pragma unroll
    for (int j = 0; j < kRows / 16; ++j) {
      if (other + 16 * j >= end) continue;
      const auto as_left = [](const float(&near)[4], const float(&far)[4], u32(&a)[4]) {
        a[0] = pack_bf16(near[0], near[1]);
        a[1] = pack_bf16(near[2], near[3]);
        a[2] = pack_bf16(far[0], far[1]);
        a[3] = pack_bf16(far[2], far[3]);
      };
      const auto add_product = [&](const bf16* tile, int d, const u32(&a)[4], float(&low)[4],
                                   float(&high)[4]) {
        u32 parts[4];
        ldmatrix_x4_trans(parts,
                          tile + (16 * j + lane % 16) * kStride<kDim> + 16 * d + lane / 16 * 8);
        const u32 upper[2] = {parts[0], parts[1]}, lower[2] = {parts[2], parts[3]};
        mma_m16n8k16_bf16(low, a, upper);
        mma_m16n8k16_bf16(high, a, lower);
      };
      u32 slopes[4], weights[4];
      as_left(slope[2 * j], slope[2 * j + 1], slopes);
      if constexpr (kOwnsKeys) as_left(score[2 * j], score[2 * j + 1], weights);
#pragma unroll
      for (int d = 0; d < kDim / 16; ++d) {
        add_product(first, d, slopes, total_first[2 * d], total_first[2 * d + 1]);
        if constexpr (kOwnsKeys) {
          add_product(second, d, weights, total_second[2 * d], total_second[2 * d + 1]);
        }
      }
    }
  }

  const PairRows<T> dfirst(kOwnsKeys ? pass.dk : pass.dq, b, h), dsecond(pass.dv, b, h);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (rows[i] >= owned) continue;
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
      const int column = 8 * d + 2 * t;
      store_pair<kAligned>(pass.scale * total_first[d][2 * i],
                           pass.scale * total_first[d][2 * i + 1], dfirst[rows[i]], column,
                           pass.dim());
      if constexpr (kOwnsKeys) {
        store_pair<kAligned>(total_second[d][2 * i], total_second[d][2 * i + 1], dsecond[rows[i]],
                             column, pass.dim());
      }
    }
  }
}

template <typename T, bool kOwnsKeys, int kDim>
void run_tiles(Context& ctx, const AttentionBackward<T>& pass) {
  const i64 owned = kOwnsKeys ? pass.k.size(1) : pass.q.size(1);
  constexpr std::size_t kSharedBytes =
      static_cast<std::size_t>(2 * (kOwn + kOther<kDim>)*kStride<kDim>) * sizeof(bf16);
  const Launch shape = {"attention_backward",
                        dim3(static_cast<unsigned>(pass.pairs() * ((owned + kOwn - 1) / kOwn))),
                        dim3(kThreads), kSharedBytes};
  launch(ctx, shape,
         in_pieces(pass, 16 / sizeof(T)) ? mma_backward_kernel<T, kOwnsKeys, kDim, true>
                                         : mma_backward_kernel<T, kOwnsKeys, kDim, false>,
         pass);
}

template <typename T>
void run(Context& ctx, AttentionBackward<T>& pass) {
  const auto both = [&](auto width) {
    constexpr int kDim = decltype(width)::value;
    run_tiles<T, true, kDim>(ctx, pass);
    run_tiles<T, false, kDim>(ctx, pass);
  };
  take_delta(ctx, pass);
  if (pass.dim() <= 32) return both(std::integral_constant<int, 32>());
  if (pass.dim() <= 64) return both(std::integral_constant<int, 64>());
  both(std::integral_constant<int, 128>());
}

}  // namespace

// Few queries or keys are bound by memory: they go the way of f32.
void attention_bf16(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                    View<const float, 4> v, float scale, bool causal, View<float, 4> out,
                    View<float, 3> log_sum) {
  constexpr i64 kFewQueries = 4;
  if (q.size(1) <= kFewQueries) {
    return orrery::attention(ctx, q, k, v, scale, causal, out, log_sum);
  }
  const AttentionPass<float> pass = {q, k, v, scale, causal, out, log_sum};
  if (pass.pairs() > 0 && pass.dim() > 0) attention_mma(ctx, pass);
}

void attention_bf16_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                             View<const float, 4> v, float scale, bool causal,
                             View<const float, 4> out, View<const float, 3> log_sum,
                             View<const float, 4> dout, View<float, 4> dq, View<float, 4> dk,
                             View<float, 4> dv) {
  AttentionBackward<float> pass = {q, k, v, scale, causal, out, log_sum, dout, dq, dk, dv, {}};
  if (pass.pairs() == 0 || q.size(1) == 0 || pass.dim() == 0) return;
  if (q.size(1) <= kLongestWindow && k.size(1) <= kLongestWindow) {
    return window_attention_backward(ctx, {}, pass);
  }
  run(ctx, pass);
}

void attention_backward(Context& ctx, View<const bf16, 4> q, View<const bf16, 4> k,
                        View<const bf16, 4> v, float scale, bool causal, View<const bf16, 4> out,
                        View<const float, 3> log_sum, View<const bf16, 4> dout, View<bf16, 4> dq,
                        View<bf16, 4> dk, View<bf16, 4> dv) {
  AttentionBackward<bf16> pass = {q, k, v, scale, causal, out, log_sum, dout, dq, dk, dv, {}};
  if (pass.pairs() > 0 && q.size(1) > 0 && pass.dim() > 0) run(ctx, pass);
}

}  // namespace orrery::cuda
