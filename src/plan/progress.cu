#include "device/cuda.h"
#include "device/ptx.h"
#include "plan/progress.h"

namespace orrery {

namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 256;

__global__ void start_clock_kernel(u64* clock) { clock[kBegan] = global_timer(); }

// latency-bound: a few numbers an environment
// one block; a warp has every eighth environment
__global__ void advance_kernel(const float* spread, i64 group, i64 width, i64 iterations,
                               double enough_std, const u64* clock, i32* progress) {
  const int lane = threadIdx.x % kWarp;
  int wide = 0;
  for (i64 e = threadIdx.x / kWarp; e < group; e += kThreads / kWarp) {
    double sum = 0;
    for (i64 i = lane; i < width; i += kWarp) sum += static_cast<double>(spread[e * width + i]);
    for (int step = kWarp / 2; step > 0; step /= 2) {
      sum += __shfl_xor_sync(0xffffffffu, sum, step);
    }
    if (!(sum / static_cast<double>(width) <= enough_std)) wide = 1;
  }
  const bool any = __syncthreads_or(wide) != 0;
  if (threadIdx.x == 0) {
    const i32 done = progress[kIterationsDone] + 1;
    progress[kIterationsDone] = done;
    const bool fits = another_fits(clock[kBudget], global_timer() - clock[kBegan], done);
    progress[kKeepGoing] = done < iterations && any && fits ? 1 : 0;
  }
}

}  // namespace

namespace cuda {

void start_clock(Context& ctx, View<u64, 1> clock) {
  launch(ctx, {"start_clock", dim3(1), dim3(1)}, start_clock_kernel, clock.data());
}

void advance(Context& ctx, View<const float, 3> spread, i64 iterations, double enough_std,
             View<const u64, 1> clock, View<i32, 1> progress) {
  launch(ctx, {"advance", dim3(1), dim3(kThreads)}, advance_kernel, spread.data(), spread.size(0),
         spread.size(1) * spread.size(2), iterations, enough_std, clock.data(), progress.data());
}

}  // namespace cuda

}  // namespace orrery
