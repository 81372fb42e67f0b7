#include "device/cuda.h"
#include "plan/candidates.h"

namespace orrery {

namespace {

constexpr int kThreads = 256;

// memory-bound: reads noise once, writes candidates once; mean, std and bounds come from the cache
// one thread makes one number
__global__ void sample_candidates_kernel(CandidateSource<float> source, i64 samples, i64 width,
                                         i64 dim, i64 count, float* candidates) {
  const i64 index = static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= count) return;
  const i64 row = index / width;
  const i64 i = index - row * width;
  const i64 e = row / samples;
  const i64 s = row - e * samples;
  const i64 there = source.kept ? source.kept.size(1) : 0;
  const i64 kept = source.iteration.data()[0] > 0 ? there : 0;
  const float mean = source.mean.data()[e * width + i];
  float value = mean;
  if (s > kept) {
    // rounded twice, as the CPU does it: the compiler must not fuse them
    const float step = __fmul_rn(source.std.data()[e * width + i], source.noise.data()[index]);
    value = __fadd_rn(mean, step);
  } else if (s > 0) {
    value = source.kept.data()[(e * there + s - 1) * width + i];
  }
  candidates[index] = clamped(value, source.low.data()[i % dim], source.high.data()[i % dim]);
}

}  // namespace

namespace cuda {

void sample_candidates(Context& ctx, const CandidateSource<float>& source,
                       View<float, 4> candidates) {
  const i64 count = candidates.numel();
  launch(ctx, {"sample_candidates", dim3(blocks_for(count, kThreads)), dim3(kThreads)},
         sample_candidates_kernel, source, candidates.size(1),
         candidates.size(2) * candidates.size(3), candidates.size(3), count, candidates.data());
}

}  // namespace cuda

}  // namespace orrery
