// What a CUDA device can do: f32 multiply-adds on registers, bytes copied.

#include <algorithm>

#include "base/clock.h"
#include "bench/peak.h"
#include "device/cuda.h"

namespace orrery::bench {

namespace {

constexpr int kThreads = 256;
// 8 blocks of 256 fill the 2048 threads of a multiprocessor; chains of a thread hide the 4 cycles
// that a multiply-add takes many times over
constexpr int kBlocksEach = 8;
constexpr int kChains = 8;

// limited by multiply-adds; what a thread stores depends on all of them
__global__ void multiply_adds_kernel(i64 rounds, float factor, float addend, float* sums) {
  float chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = addend * static_cast<float>(i + threadIdx.x);
  for (i64 n = 0; n < rounds; ++n) {
#pragma unroll
    for (int i = 0; i < kChains; ++i) chain[i] = fmaf(chain[i], factor, addend);
  }
  float sum = 0;
  for (int i = 0; i < kChains; ++i) sum += chain[i];
  sums[static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x] = sum;
}

// limited by memory; 16 bytes a thread and step
__global__ void copy_kernel(const float4* from, float4* to, i64 count) {
  const i64 step = static_cast<i64>(gridDim.x) * kThreads;
  for (i64 i = static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) {
    to[i] = from[i];
  }
}

// the shortest of several tries, the first of which warms up
template <typename Run>
double seconds_of(Context& ctx, const Run& run) {
  double best = 1e9;
  for (int attempt = 0; attempt < 5; ++attempt) {
    ctx.synchronize();
    const double start = now_s();
    run();
    ctx.synchronize();
    if (attempt > 0) best = std::min(best, now_s() - start);
  }
  return best;
}

}  // namespace

namespace cuda {

std::size_t free_bytes(const Context& ctx) {
  std::size_t free_now = 0, whole = 0;
  cuda_check(cudaSetDevice(ctx.device_index()), "choosing a device");
  cuda_check(cudaMemGetInfo(&free_now, &whole), "asking for free memory");
  return free_now;
}

Limits measure_limits(Context& ctx, const LimitWork& work) {
  const int processors =
      cuda_facts().at(static_cast<std::size_t>(ctx.device_index())).multiprocessors;
  const auto blocks = static_cast<unsigned>(processors * kBlocksEach);
  Block from(ctx, work.copy_bytes), to(ctx, work.copy_bytes);
  Block sums(ctx, std::size_t{blocks} * kThreads * sizeof(float));

  Limits limits;
  const double flops = 2.0 * kChains * static_cast<double>(work.rounds) * blocks * kThreads;
  limits.flops_per_s =
      flops / seconds_of(ctx, [&] {
        launch(ctx, {"multiply_adds", dim3(blocks), dim3(kThreads)}, multiply_adds_kernel,
               work.rounds, 0.5f, 1.0f, reinterpret_cast<float*>(sums.data()));
      });
  // read once and written once
  limits.read_bytes_per_s =
      2.0 * static_cast<double>(work.copy_bytes) / seconds_of(ctx, [&] {
        launch(ctx, {"copy", dim3(blocks), dim3(kThreads)}, copy_kernel,
               reinterpret_cast<const float4*>(from.data()), reinterpret_cast<float4*>(to.data()),
               static_cast<i64>(work.copy_bytes / sizeof(float4)));
      });
  return limits;
}

}  // namespace cuda

}  // namespace orrery::bench
