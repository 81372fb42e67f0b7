#pragma once

// Sums over arrays in double, in an order that depends on the number of values alone: blocks take
// strided parts, lanes and warps meet in a fixed tree, and one block adds the blocks' parts.

#include "ops/warp_device.h"

namespace orrery::cuda {

namespace {

constexpr int kSumThreads = 256;
// four blocks a multiprocessor of an H100: enough loads under way to fill its memory
constexpr i64 kMostSumBlocks = 528;

// the sum over the threads of a block, valid in the first; all threads come here
__device__ inline double block_sum(double value) {
  __shared__ double of_warps[kSumThreads / kWarp];
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, step);
  }
  __syncthreads();  // an earlier sum has been read
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  double sum = 0;
  for (int w = 0; w < kSumThreads / kWarp; ++w) sum += of_warps[w];
  return sum;
}

// the sum of the blocks' parts, by one block, valid in its first thread
__device__ inline double sum_of_parts(const double* parts, i64 count) {
  double sum = 0;
  for (i64 i = threadIdx.x; i < count; i += kSumThreads) sum += parts[i];
  return block_sum(sum);
}

// blocks for `count` values of which a thread takes at least four
inline i64 sum_blocks(i64 count) {
  const i64 wanted = (count + 4 * kSumThreads - 1) / (4 * kSumThreads);
  return wanted < 1 ? 1 : wanted < kMostSumBlocks ? wanted : kMostSumBlocks;
}

// the index of the first value of a thread, and how far the next one is
__device__ inline i64 sum_begin() {
  return static_cast<i64>(blockIdx.x) * kSumThreads + threadIdx.x;
}
__device__ inline i64 sum_stride() { return static_cast<i64>(gridDim.x) * kSumThreads; }

}  // namespace

}  // namespace orrery::cuda
