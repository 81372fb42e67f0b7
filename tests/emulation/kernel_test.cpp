// What kernels count on: their place, barriers, shared memory, atomics, warp collectives.

#include <algorithm>
#include <numeric>

#include "launching.h"
#include "device/ptx.h"

namespace emulation {
namespace {

using orrery::dynamic_shared;

__global__ void where_am_i(int* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] +=
      static_cast<int>(1000 * block + thread);
}

TEST(Kernel, EveryThreadRunsOnceInItsPlace) {
  for (const char* order : kOrders) {
    const Set set("ORRERY_EMULATED_ORDER", order);
    const dim3 grid(3, 2, 2), block(5, 4, 2);
    OnDevice<int> out(std::vector<int>(12 * 40, 0));
    ASSERT_EQ(run({grid, block}, where_am_i, out.data()), cudaSuccess);
    const auto values = out.values();
    for (int b = 0; b < 12; ++b) {
      for (int t = 0; t < 40; ++t) {
        ASSERT_EQ(values[static_cast<std::size_t>(b * 40 + t)], 1000 * b + t) << order;
      }
    }
  }
}

// a block's sum by halving, through static shared memory
__global__ void block_sum(const float* x, float* sums) {
  __shared__ float part[256];
  const unsigned t = threadIdx.x;
  part[t] = x[blockIdx.x * blockDim.x + t];
  __syncthreads();
  for (unsigned step = blockDim.x / 2; step > 0; step /= 2) {
    if (t < step) part[t] += part[t + step];
    __syncthreads();
  }
  if (t == 0) sums[blockIdx.x] = part[0];
}

TEST(Kernel, BarriersKeepStepsApart) {
  for (const char* order : kOrders) {
    const Set set("ORRERY_EMULATED_ORDER", order);
    std::vector<float> x(7 * 256);
    std::iota(x.begin(), x.end(), 1.0f);
    const OnDevice<float> in(x), out(7);
    ASSERT_EQ(run({7, 256}, block_sum, in.data(), out.data()), cudaSuccess);
    const auto sums = out.values();
    for (std::size_t b = 0; b < 7; ++b) {
      float sum = 0;  // small integers: exact in every order
      for (std::size_t i = 0; i < 256; ++i) sum += x[256 * b + i];
      EXPECT_EQ(sums[b], sum) << order;
    }
  }
}

// what the first pass over new dynamic shared memory finds, and that it is whole
__global__ void dynamic_kernel(int floats, int* all_nan, float* last) {
  float* shared = dynamic_shared<float>();
  bool nan = true;
  for (int i = static_cast<int>(threadIdx.x); i < floats; i += static_cast<int>(blockDim.x)) {
    nan = nan && shared[i] != shared[i];
  }
  const int all = __syncthreads_and(nan);
  shared[floats - 1 - static_cast<int>(threadIdx.x)] = static_cast<float>(threadIdx.x);
  __syncthreads();
  if (threadIdx.x == 0) {
    all_nan[blockIdx.x] = all;
    last[blockIdx.x] = shared[floats - 1] + shared[floats - 2];
  }
}

TEST(Kernel, DynamicSharedMemoryIsNewInEveryBlock) {
  const OnDevice<int> all_nan(3);
  const OnDevice<float> last(3);
  ASSERT_EQ(run({3, 64, 1000 * sizeof(float)}, dynamic_kernel, 1000, all_nan.data(), last.data()),
            cudaSuccess);
  EXPECT_EQ(all_nan.values(), std::vector<int>({1, 1, 1}));
  EXPECT_EQ(last.values(), std::vector<float>({1, 1, 1}));
}

TEST(Kernel, MoreSharedMemoryMustBeAskedFor) {
  const OnDevice<int> all_nan(1);
  const OnDevice<float> last(1);
  const int floats = 20 * 1024;
  const auto go = [&](int count) {
    return run({1, 32, static_cast<std::size_t>(count) * 4}, dynamic_kernel, count, all_nan.data(),
               last.data());
  };
  cudaFuncSetAttribute(dynamic_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 48 * 1024);
  EXPECT_EQ(go(floats), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(
      cudaFuncSetAttribute(dynamic_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 80 * 1024),
      cudaSuccess);
  EXPECT_EQ(go(floats), cudaSuccess);
  EXPECT_EQ(
      cudaFuncSetAttribute(dynamic_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 * 1024),
      cudaErrorInvalidValue);
  EXPECT_EQ(run({1, 1025}, dynamic_kernel, 1, all_nan.data(), last.data()),
            cudaErrorInvalidConfiguration);
  EXPECT_EQ(run({dim3(1, 65536), 32}, dynamic_kernel, 1, all_nan.data(), last.data()),
            cudaErrorInvalidConfiguration);
  cudaGetLastError();
}

__global__ void votes_of_block(int* out) {
  const int count = __syncthreads_count(threadIdx.x % 3 == 0);
  const int any = __syncthreads_or(threadIdx.x == 17);
  const int none = __syncthreads_or(0);
  const int all = __syncthreads_and(threadIdx.x < 100);
  const int not_all = __syncthreads_and(threadIdx.x < 99);
  if (threadIdx.x == 50) {
    const int results[] = {count, any, none, all, not_all};
    for (int i = 0; i < 5; ++i) out[i] = results[i];
  }
}

TEST(Kernel, BarriersCount) {
  const OnDevice<int> out(5);
  ASSERT_EQ(run({1, 100}, votes_of_block, out.data()), cudaSuccess);
  EXPECT_EQ(out.values(), std::vector<int>({34, 1, 0, 1, 0}));
}

// two warps hand work to two others, twice, at barriers of their own
__global__ void pipeline(int* out) {
  __shared__ int slot[64];
  const unsigned t = threadIdx.x % 64;
  for (int round = 0; round < 2; ++round) {
    if (threadIdx.x < 64) {
      slot[63 - t] = static_cast<int>(t) + 100 * round;
      orrery::barrier_sync(1, 128);
      orrery::barrier_sync(2, 128);
    } else {
      orrery::barrier_sync(1, 128);
      out[64 * round + static_cast<int>(t)] = slot[t];
      orrery::barrier_sync(2, 128);
    }
  }
}

TEST(Kernel, NamedBarriers) {
  for (const char* order : kOrders) {
    const Set set("ORRERY_EMULATED_ORDER", order);
    const OnDevice<int> out(128);
    ASSERT_EQ(run({1, 128}, pipeline, out.data()), cudaSuccess);
    const auto values = out.values();
    for (int i = 0; i < 128; ++i) {
      EXPECT_EQ(values[static_cast<std::size_t>(i)], 63 - i % 64 + 100 * (i / 64));
    }
  }
}

__global__ void shuffles(long long* out) {
  const int lane = static_cast<int>(threadIdx.x);
  const long long mine = 10000000000ll + lane;
  long long* row = out + 8 * lane;
  row[0] = __shfl_sync(~0u, mine, 5);
  row[1] = __shfl_sync(~0u, lane, 9, 8);  // lane 1 of each segment of 8
  row[2] = static_cast<long long>(__shfl_up_sync(~0u, static_cast<float>(lane), 3));
  row[3] = static_cast<long long>(__shfl_down_sync(~0u, static_cast<double>(lane), 4, 16));
  row[4] = __shfl_xor_sync(~0u, static_cast<unsigned>(lane), 6);
  // lanes of each half go their own way
  row[5] =
      lane < 16 ? __shfl_xor_sync(0x0000ffffu, lane, 1) : __shfl_down_sync(0xffff0000u, lane, 1);
  __syncwarp();
  row[6] = __reduce_add_sync(~0u, lane - 16);
  row[7] = __shfl_xor_sync(~0u, lane, 8, 8);  // beyond the segment: itself or a lower one
}

TEST(Kernel, ShufflesReadTheLaneTheySay) {
  for (const char* order : kOrders) {
    const Set set("ORRERY_EMULATED_ORDER", order);
    const OnDevice<long long> out(32 * 8);
    ASSERT_EQ(run({1, 32}, shuffles, out.data()), cudaSuccess);
    const auto values = out.values();
    for (int lane = 0; lane < 32; ++lane) {
      const long long* row = values.data() + 8 * lane;
      EXPECT_EQ(row[0], 10000000005ll);
      EXPECT_EQ(row[1], lane / 8 * 8 + 1);
      EXPECT_EQ(row[2], lane < 3 ? lane : lane - 3);
      EXPECT_EQ(row[3], lane % 16 + 4 > 15 ? lane : lane + 4);
      EXPECT_EQ(row[4], lane ^ 6);
      EXPECT_EQ(row[5], lane < 16 ? lane ^ 1 : (lane == 31 ? 31 : lane + 1));
      EXPECT_EQ(row[6], -16);
      EXPECT_EQ(row[7], (lane ^ 8) < lane ? lane ^ 8 : lane);
    }
  }
}

__global__ void votes_of_warp(unsigned* out) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned mask = lane < 20 ? 0x000fffffu : 0xfff00000u;
  unsigned* row = out + 8 * threadIdx.x;
  row[0] = __ballot_sync(mask, lane % 2);
  row[1] = static_cast<unsigned>(__all_sync(mask, lane >= 20));
  row[2] = static_cast<unsigned>(__any_sync(mask, lane == 7));
  row[3] = __match_any_sync(mask, lane / 3);
  row[4] = __reduce_max_sync(mask, lane ^ 0x80000000u);
  row[5] = static_cast<unsigned>(__reduce_min_sync(mask, static_cast<int>(lane) - 25));
  row[6] = __reduce_or_sync(mask, 1u << lane) ^ mask;
  row[7] = __activemask();
}

TEST(Kernel, VotesAreOfTheLanesNamed) {
  const OnDevice<unsigned> out(64 * 8);
  ASSERT_EQ(run({1, 64}, votes_of_warp, out.data()), cudaSuccess);
  const auto values = out.values();
  for (unsigned thread = 0; thread < 64; ++thread) {
    const unsigned lane = thread % 32;
    const unsigned mask = lane < 20 ? 0x000fffffu : 0xfff00000u;
    const unsigned* row = values.data() + 8 * thread;
    EXPECT_EQ(row[0], 0xaaaaaaaau & mask);
    EXPECT_EQ(row[1], lane >= 20 ? 1u : 0u);
    EXPECT_EQ(row[2], lane < 20 ? 1u : 0u);
    EXPECT_EQ(row[3], static_cast<unsigned>(7ull << (lane / 3 * 3)) & mask);
    EXPECT_EQ(row[4], (lane < 20 ? 19u : 31u) | 0x80000000u);
    EXPECT_EQ(static_cast<int>(row[5]), lane < 20 ? -25 : -5);
    EXPECT_EQ(row[6], 0u);
  }
}

// the last block to finish adds up what the others left behind
__global__ void last_block(const float* x, float* parts, unsigned* finished, float* total) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = x[blockIdx.x];
    __threadfence();
    last = atomicAdd(finished, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (last && threadIdx.x == 33) {
    float sum = 0;
    for (unsigned b = 0; b < gridDim.x; ++b) sum += parts[b];
    *total = sum;
  }
}

TEST(Kernel, LastBlockSeesWhatOthersWrote) {
  for (const char* order : kOrders) {
    const Set set("ORRERY_EMULATED_ORDER", order);
    std::vector<float> x(9);
    std::iota(x.begin(), x.end(), 0.0f);
    const OnDevice<float> in(x), parts(9), total(1);
    const OnDevice<unsigned> finished(std::vector<unsigned>(1, 0));
    ASSERT_EQ(run({9, 64}, last_block, in.data(), parts.data(), finished.data(), total.data()),
              cudaSuccess);
    EXPECT_EQ(total.values()[0], 36.0f) << order;
  }
}

__global__ void atomics(int* sums, float* floats, unsigned long long* most) {
  atomicAdd(&sums[0], 3);
  atomicMax(&sums[1], static_cast<int>(threadIdx.x));
  atomicMin(&sums[2], -static_cast<int>(threadIdx.x));
  atomicOr(&sums[3], 1 << (threadIdx.x % 31));
  if (atomicCAS(&sums[4], 0, static_cast<int>(threadIdx.x) + 1) == 0) atomicAdd(&sums[5], 1);
  atomicAdd(floats, 0.5f);
  atomicMax(most, (1ull << 40) + blockIdx.x);
}

TEST(Kernel, Atomics) {
  const OnDevice<int> sums(std::vector<int>(6, 0));
  const OnDevice<float> floats(std::vector<float>(1, 0));
  const OnDevice<unsigned long long> most(std::vector<unsigned long long>(1, 0));
  ASSERT_EQ(run({4, 96}, atomics, sums.data(), floats.data(), most.data()), cudaSuccess);
  const auto values = sums.values();
  EXPECT_EQ(values[0], 3 * 4 * 96);
  EXPECT_EQ(values[1], 95);
  EXPECT_EQ(values[2], -95);
  EXPECT_EQ(values[3], 0x7fffffff);
  EXPECT_EQ(values[5], 1);
  EXPECT_EQ(floats.values()[0], 4 * 96 * 0.5f);
  EXPECT_EQ(most.values()[0], (1ull << 40) + 3);
}

// one warp waits for a flag that another sets; each turn it gives way
__global__ void waiting(volatile unsigned* flag, int* rounds) {
  if (threadIdx.x >= 32) {
    if (threadIdx.x == 40) atomicExch(const_cast<unsigned*>(flag), 1u);
  } else if (threadIdx.x == 0) {
    int count = 0;
    while (atomicAdd(const_cast<unsigned*>(flag), 0u) == 0) {
      __nanosleep(20);
      ++count;
    }
    *rounds = count;
  }
}

TEST(Kernel, WhoSleepsGivesWay) {
  for (const char* order : kOrders) {
    const Set set("ORRERY_EMULATED_ORDER", order);
    const OnDevice<unsigned> flag(std::vector<unsigned>(1, 0));
    const OnDevice<int> rounds(1);
    ASSERT_EQ(run({1, 64}, waiting, flag.data(), rounds.data()), cudaSuccess);
    EXPECT_LE(rounds.values()[0], 1);
  }
}

TEST(Intrinsics, AreWhatTheirNamesSay) {
  EXPECT_EQ(__popc(0xf0f0u), 8);
  EXPECT_EQ(__clz(1), 31);
  EXPECT_EQ(__ffs(0), 0);
  EXPECT_EQ(__ffs(8), 4);
  EXPECT_EQ(__brev(1u), 0x80000000u);
  EXPECT_EQ(__umulhi(0x80000000u, 6u), 3u);
  EXPECT_EQ(__byte_perm(0x33221100u, 0x77665544u, 0x7250u), 0x77225500u);
  EXPECT_EQ(__funnelshift_l(0x80000000u, 1u, 1), 3u);
  EXPECT_EQ(__funnelshift_r(0u, 1u, 1), 0x80000000u);
  EXPECT_EQ(__dp4a(static_cast<int>(0x80ff7f01u), 0x01010101, 10), 10 - 128 - 1 + 127 + 1);
  EXPECT_EQ(__float2int_rn(2.5f), 2);
  EXPECT_EQ(__float2int_rn(-3.5f), -4);
  EXPECT_EQ(__float2int_rn(1e20f), 0x7fffffff);
  EXPECT_EQ(__float2int_rn(__int_as_float(0x7fc00000)), 0);
  EXPECT_EQ(max(1.0f, __int_as_float(0x7fc00000)), 1.0f);
  double sine = 0, cosine = 0;
  sincospi(1.5, &sine, &cosine);
  EXPECT_NEAR(sine, -1.0, 1e-15);
  EXPECT_NEAR(cosine, 0.0, 1e-15);
}

}  // namespace
}  // namespace emulation
