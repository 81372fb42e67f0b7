// Attention on the tensor cores, of bf16 rows or of floats that are rounded on their way: an
// image's tokens, queries and keys by the dozen. source of the scheme: Dao, "FlashAttention-2:
// faster attention with better parallelism and work partitioning", 2023

#include <limits>

#include "device/ptx.h"
#include "ops/attention_mma_device.h"

namespace orrery::cuda {

namespace {

constexpr int kThreads = kMmaThreads;
constexpr int kQueries =
    16 * kThreads / kWarp;  // of a block: each warp has the 16 rows of one product
constexpr int kKeys = 64;   // of a tile

// Bound by the tensor cores at many pairs: 4 x 64 x 64 x kDim operations on every 64 rows of keys
// and values, which come from L2 but for the first block of a pair and are under way while the tile
// before is worked on (of floats: when other blocks of the multiprocessor work). One block per 64
// queries of a pair; a warp's queries, scores and results stay in its registers.
template <typename T, int kDim, bool kAligned>
__global__ void __launch_bounds__(kThreads) mma_kernel(AttentionPass<T> pass) {
  constexpr int kTile = kKeys * kStride<kDim>;
  bf16* query_tile = dynamic_shared<bf16>();
  bf16* stages = query_tile + kTile;  // twice keys and values

  const i64 queries = pass.q.size(1), keys = pass.k.size(1), heads = pass.q.size(2);
  const i64 blocks = (queries + kQueries - 1) / kQueries;
  const i64 pair = blockIdx.x / blocks, first_query = blockIdx.x % blocks * kQueries;
  const i64 b = pair / heads, h = pair % heads;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int g = lane / 4, t = lane % 4;  // as in the tables of device/ptx.h
  const PairRows<const T> q(pass.q, b, h), k(pass.k, b, h), v(pass.v, b, h);

  const i64 last_query =
      first_query + kQueries < queries ? first_query + kQueries - 1 : queries - 1;
  const i64 key_end = pass.seen(last_query);
  const i64 rows[2] = {first_query + 16 * warp + g, first_query + 16 * warp + g + 8};
  i64 seen[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) seen[i] = pass.seen(rows[i] < queries ? rows[i] : queries - 1);
  const bool has_rows = first_query + 16 * warp < queries;  // the same for the whole warp

  const auto load_stage = [&](i64 first_key, int stage) {
    bf16* tile = stages + stage * 2 * kTile;
    load_bf16<kKeys, kDim, kAligned>(k, first_key, keys, pass.dim(), tile);
    load_bf16<kKeys, kDim, kAligned>(v, first_key, keys, pass.dim(), tile + kTile);
  };
  load_bf16<kKeys, kDim, kAligned>(q, first_query, queries, pass.dim(), query_tile);
  load_stage(0, 0);
  cp_async_commit();

  u32 query[kDim / 16][4];
  float total[kDim / 8][4] = {};
  float top[2] = {-std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
  float sum[2] = {0, 0};
  // exp(x) = 2^(x log2 e): one multiplication serves both
  const float factor = pass.scale * kLog2E;

  int stage = 0;
  for (i64 first_key = 0; first_key < key_end; first_key += kKeys, stage ^= 1) {
    if (first_key + kKeys < key_end) load_stage(first_key + kKeys, stage ^ 1);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    const bf16* key_tile = stages + stage * 2 * kTile;
    const bf16* value_tile = key_tile + kTile;

    if (has_rows) {
      if (first_key == 0) {
#pragma unroll
        for (int d = 0; d < kDim / 16; ++d) {
          const int row = 16 * warp + lane % 16, column = 16 * d + lane / 16 * 8;
          ldmatrix_x4(query[d], query_tile + row * kStride<kDim> + column);
        }
      }

      // scores of 16 queries and 64 keys; 16 keys at a time, as far as there are any
      float score[kKeys / 8][4] = {};
#pragma unroll
      for (int j = 0; j < kKeys / 16; ++j) {
        if (first_key + 16 * j >= key_end) continue;
#pragma unroll
        for (int d = 0; d < kDim / 16; ++d) {
          u32 parts[4];
          const int row = 16 * j + lane / 16 * 8 + lane % 8, column = 16 * d + lane / 8 % 2 * 8;
          ldmatrix_x4(parts, key_tile + row * kStride<kDim> + column);
          const u32 low[2] = {parts[0], parts[1]}, high[2] = {parts[2], parts[3]};
          mma_m16n8k16_bf16(score[2 * j], query[d], low);
          mma_m16n8k16_bf16(score[2 * j + 1], query[d], high);
        }
      }

      // elements 2 i and 2 i + 1 of a part are of row i
      float highest[2] = {top[0], top[1]};
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const i64 key = first_key + 8 * j + 2 * t + e % 2;
          score[j][e] =
              key < seen[e / 2] ? factor * score[j][e] : -std::numeric_limits<float>::infinity();
          highest[e / 2] = fmaxf(highest[e / 2], score[j][e]);
        }
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        // a row sees at least key 0, so from the first round on this is finite
        highest[i] = group_max<4>(highest[i]);
        const float kept = exp2f(top[i] - highest[i]);
        top[i] = highest[i];
        sum[i] *= kept;
#pragma unroll
        for (int d = 0; d < kDim / 8; ++d) {
          total[d][2 * i] *= kept;
          total[d][2 * i + 1] *= kept;
        }
      }
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          score[j][e] = exp2f(score[j][e] - top[e / 2]);
          sum[e / 2] += score[j][e];
        }
      }

      // what a product leaves is laid out as the next one's left side wants it
#pragma unroll
      for (int j = 0; j < kKeys / 16; ++j) {
        if (first_key + 16 * j >= key_end) continue;
        const float(&near)[4] = score[2 * j];
        const float(&far)[4] = score[2 * j + 1];
        const u32 weights[4] = {pack_bf16(near[0], near[1]), pack_bf16(near[2], near[3]),
                                pack_bf16(far[0], far[1]), pack_bf16(far[2], far[3])};
#pragma unroll
        for (int d = 0; d < kDim / 16; ++d) {
          u32 parts[4];
          const int row = 16 * j + lane % 16, column = 16 * d + lane / 16 * 8;
          ldmatrix_x4_trans(parts, value_tile + row * kStride<kDim> + column);
          const u32 low[2] = {parts[0], parts[1]}, high[2] = {parts[2], parts[3]};
          mma_m16n8k16_bf16(total[2 * d], weights, low);
          mma_m16n8k16_bf16(total[2 * d + 1], weights, high);
        }
      }
    }
    __syncthreads();  // the tile has been read: the round after next may write it
  }
  if (!has_rows) return;

  const PairRows<T> out(pass.out, b, h);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float all = group_sum<4>(sum[i]);
    const float share = 1.0f / all;
    if (rows[i] >= queries) continue;
    // tops are of base 2
    if (t == 0 && pass.log_sum) pass.log_sum(b, h, rows[i]) = (top[i] + log2f(all)) / kLog2E;
    T* to = out[rows[i]];
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
      store_pair<kAligned>(share * total[d][2 * i], share * total[d][2 * i + 1], to, 8 * d + 2 * t,
                           pass.dim());
    }
  }
}

template <typename T, int kDim>
void attention_tiles(Context& ctx, const AttentionPass<T>& pass) {
  const i64 blocks = (pass.q.size(1) + kQueries - 1) / kQueries;
  constexpr std::size_t kSharedBytes =
      static_cast<std::size_t>(5 * kKeys * kStride<kDim>) * sizeof(bf16);
  // pieces of 16 bytes
  const auto kernel =
      in_pieces(pass, 16 / sizeof(T)) ? mma_kernel<T, kDim, true> : mma_kernel<T, kDim, false>;
  launch(ctx,
         {"attention", dim3(static_cast<unsigned>(pass.pairs() * blocks)), dim3(kThreads),
          kSharedBytes},
         kernel, pass);
}

template <typename T>
void run(Context& ctx, const AttentionPass<T>& pass) {
  if (pass.dim() <= 32) return attention_tiles<T, 32>(ctx, pass);
  if (pass.dim() <= 64) return attention_tiles<T, 64>(ctx, pass);
  attention_tiles<T, 128>(ctx, pass);
}

}  // namespace

void attention_mma(Context& ctx, const AttentionPass<bf16>& pass) { run(ctx, pass); }
void attention_mma(Context& ctx, const AttentionPass<float>& pass) { run(ctx, pass); }

}  // namespace orrery::cuda
