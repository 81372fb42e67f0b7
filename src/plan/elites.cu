#include "device/cuda.h"
#include "plan/elites_math.h"

namespace orrery {

namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr unsigned kAllLanes = 0xffffffffu;

// ranking: a block has 32 candidates, and 8 threads count for each who comes before it
constexpr int kCounters = 8;
constexpr int kRanked = kThreads / kCounters;

// A number that is smaller the better the candidate: the cost's bits in the order of their values,
// both zeros alike and NaN last (or first), then the sample number. No two are equal.
__device__ u64 key_of(float cost, i64 sample, bool nan_first) {
  u32 bits = __float_as_uint(cost == 0.0f ? 0.0f : cost);
  bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  if (cost != cost) bits = nan_first ? 0 : 0xffffffffu;
  return (static_cast<u64>(bits) << 32) | static_cast<u32>(sample);
}

// compute-bound: samples^2 comparisons of 64 bits, over all multiprocessors, no sorting and no
// limit on samples: 1024 samples are 8192 comparisons a warp, 2 us one block ranks 32 candidates of
// one environment against all: an elite's rank is its place
__global__ void lowest_costs_kernel(const float* all_costs, i64 samples, i64 count, i32* orders,
                                    bool nan_first) {
  __shared__ u64 tile[kThreads];
  const i64 blocks = (samples + kRanked - 1) / kRanked;
  const i64 e = blockIdx.x / blocks;
  const i64 mine = (blockIdx.x - e * blocks) * kRanked + threadIdx.x / kCounters;
  const int counter = threadIdx.x % kCounters;
  const float* costs = all_costs + e * samples;
  constexpr u64 kNobody = ~u64{0};
  const u64 key = mine < samples ? key_of(costs[mine], mine, nan_first) : kNobody;

  int before = 0;
  for (i64 first = 0; first < samples; first += kThreads) {
    const i64 other = first + threadIdx.x;
    __syncthreads();
    tile[threadIdx.x] = other < samples ? key_of(costs[other], other, nan_first) : kNobody;
    __syncthreads();
#pragma unroll 8
    for (int i = counter; i < kThreads; i += kCounters) before += tile[i] < key ? 1 : 0;
  }
  for (int step = kCounters / 2; step > 0; step /= 2) {
    before += __shfl_xor_sync(kAllLanes, before, step);
  }
  if (counter == 0 && mine < samples && before < count) {
    orders[e * samples + before] = static_cast<i32>(mine);
  }
}

// the sum over the block, in every thread, in a fixed order; `shared` has a place for every warp
__device__ double block_sum(double value, double* shared) {
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  double sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += shared[warp];
  return sum;
}

// what kernels know of the elites of one environment
struct Ranked {
  const float* candidates;
  const float* costs;
  const i32* order;
  i64 width;
  i64 count;  // of those that count

  __device__ float cost(i64 k) const { return costs[order[k]]; }
  __device__ float value(i64 k, i64 i) const { return candidates[order[k] * width + i]; }
};

__device__ Ranked ranked(const Elites<float>& elites, i64 e, i64 width, NanCosts nan) {
  const i64 samples = elites.candidates.size(1);
  const float* costs = elites.costs.data() + e * samples;
  const i32* order = elites.order.data() + e * elites.order.stride(0);
  return {elites.candidates.data() + e * samples * width, costs, order, width,
          usable_elites(costs, order, elites.order.size(1), nan)};
}

__device__ double mean_cost(const Ranked& elites, double* shared) {
  double sum = 0;
  for (i64 k = threadIdx.x; k < elites.count; k += kThreads) {
    sum += static_cast<double>(elites.cost(k));
  }
  sum = block_sum(sum, shared);
  return elites.count > 0 ? sum / static_cast<double>(elites.count) : nan("");
}

// sums of the eight warps' numbers, column by column, in every thread of a column
__device__ double column_sum(double value, double (*shared)[kWarp]) {
  const int lane = threadIdx.x % kWarp;
  __syncthreads();
  shared[threadIdx.x / kWarp][lane] = value;
  __syncthreads();
  double sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += shared[warp][lane];
  return sum;
}

// latency-bound: elites x width numbers from the cache, twice
// one block has 32 columns of one environment, each warp every eighth elite; sums meet in shared
// memory
__global__ void fit_elites_kernel(Elites<float> all, FitRule rule, Fit<float> fit, i64 width) {
  __shared__ double shared[kWarps][kWarp];
  const i64 tiles = (width + kWarp - 1) / kWarp;
  const i64 e = blockIdx.x / tiles;
  const i64 tile = blockIdx.x - e * tiles;
  const int warp = threadIdx.x / kWarp;
  const i64 i = tile * kWarp + threadIdx.x % kWarp;
  const Ranked elites = ranked(all, e, width, rule.nan);
  const auto count = static_cast<double>(elites.count);

  if (tile == 0) {
    const double cost = mean_cost(elites, shared[0]);
    if (threadIdx.x == 0) {
      fit.cost.data()[e] = static_cast<float>(cost);
      fit.best_cost.data()[e] = elites.cost(0);
    }
  }

  double sum = 0;
  if (i < width) {
    for (i64 k = warp; k < elites.count; k += kWarps) {
      sum += static_cast<double>(elites.value(k, i));
    }
  }
  const double mean = column_sum(sum, shared) / count;
  double squares = 0;
  if (i < width) {
    for (i64 k = warp; k < elites.count; k += kWarps) {
      const double away = static_cast<double>(elites.value(k, i)) - mean;
      squares += away * away;
    }
  }
  squares = column_sum(squares, shared);
  if (i >= width) return;

  if (warp == 0 && elites.count > 0) {
    const double divisor = rule.elite_std == EliteStd::sample ? count - 1 : count;
    // one of several: see the header
    const bool std_stays = divisor == 0 && all.order.size(1) > 1;
    // one elite and divisor 0: the NaN of 0 / 0 that the released planner has
    const double std = divisor > 0 ? sqrt(squares / divisor) : nan("");
    const auto blended = [&](float before, double now) {
      return rule.momentum == 0
                 ? now
                 : rule.momentum * static_cast<double>(before) + (1 - rule.momentum) * now;
    };
    float& stored_mean = fit.mean.data()[e * width + i];
    float& stored_std = fit.std.data()[e * width + i];
    stored_mean = static_cast<float>(blended(stored_mean, mean));
    const double blended_std = std_stays ? stored_std : blended(stored_std, std);
    stored_std = static_cast<float>(blended_std < rule.min_std ? rule.min_std : blended_std);
  }
  const i64 kept = fit.kept ? fit.kept.size(1) : 0;
  for (i64 k = warp; k < kept; k += kWarps) {
    fit.kept.data()[(e * kept + k) * width + i] = elites.value(k, i);
  }
}

// latency-bound, and an exponential twice for each elite
// one block has 32 columns of one environment; weights are made 256 at a time in shared memory
__global__ void weigh_elites_kernel(Elites<float> all, double temperature, NanCosts nan,
                                    Weighing<float> weighing, i64 width) {
  __shared__ double shared[kWarps][kWarp];
  __shared__ float weights[kThreads];
  const i64 tiles = (width + kWarp - 1) / kWarp;
  const i64 e = blockIdx.x / tiles;
  const i64 tile = blockIdx.x - e * tiles;
  const i64 i = tile * kWarp + threadIdx.x % kWarp;
  const Ranked elites = ranked(all, e, width, nan);
  const i64 there_are = all.order.size(1);
  const float lowest = elites.cost(0);
  const auto weight = [&](i64 k) {
    return exp(-cost_above(elites.cost(k), lowest, nan) / temperature);
  };

  if (tile == 0) {
    const double cost = mean_cost(elites, shared[0]);
    if (threadIdx.x == 0) weighing.cost.data()[e] = static_cast<float>(cost);
  }
  double sum = 0;
  for (i64 k = threadIdx.x; k < elites.count; k += kThreads) sum += weight(k);
  sum = block_sum(sum, shared[0]);

  double total = 0;
  for (i64 first = 0; first < there_are; first += kThreads) {
    const i64 mine = first + threadIdx.x;
    __syncthreads();
    if (mine < there_are) {
      const auto share = mine < elites.count ? static_cast<float>(weight(mine) / sum) : 0.0f;
      weights[threadIdx.x] = share;
      if (tile == 0) weighing.weights.data()[e * there_are + mine] = share;
    }
    __syncthreads();
    const i64 there = elites.count - first < kThreads ? elites.count - first : kThreads;
    if (i < width) {
      for (i64 k = threadIdx.x / kWarp; k < there; k += kWarps) {
        total += static_cast<double>(weights[k]) * static_cast<double>(elites.value(first + k, i));
      }
    }
  }
  total = column_sum(total, shared);
  if (i < width && threadIdx.x < kWarp && elites.count > 0) {
    weighing.mean.data()[e * width + i] = static_cast<float>(total);
  }
}

}  // namespace

namespace cuda {

void lowest_costs(Context& ctx, View<const float, 2> costs, i64 count, View<i32, 2> order,
                  bool nan_first) {
  const i64 blocks = costs.size(0) * ((costs.size(1) + kRanked - 1) / kRanked);
  launch(ctx, {"lowest_costs", dim3(static_cast<unsigned>(blocks)), dim3(kThreads)},
         lowest_costs_kernel, costs.data(), costs.size(1), count, order.data(), nan_first);
}

void fit_elites(Context& ctx, const Elites<float>& elites, const FitRule& rule,
                const Fit<float>& fit) {
  const i64 width = fit.mean.size(1) * fit.mean.size(2);
  launch(ctx,
         {"fit_elites", dim3(static_cast<unsigned>(fit.mean.size(0)) * blocks_for(width, kWarp)),
          dim3(kThreads)},
         fit_elites_kernel, elites, rule, fit, width);
}

void weigh_elites(Context& ctx, const Elites<float>& elites, double temperature, NanCosts nan,
                  const Weighing<float>& weighing) {
  const i64 width = weighing.mean.size(1) * weighing.mean.size(2);
  launch(ctx,
         {"weigh_elites",
          dim3(static_cast<unsigned>(weighing.mean.size(0)) * blocks_for(width, kWarp)),
          dim3(kThreads)},
         weigh_elites_kernel, elites, temperature, nan, weighing, width);
}

}  // namespace cuda

}  // namespace orrery
