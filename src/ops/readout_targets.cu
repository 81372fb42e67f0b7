#include "ops/readout_targets.h"

#include "device/cuda.h"
#include "ops/readout_target.h"

namespace orrery::cuda {

namespace {

constexpr int kThreads = 256;

// bound by its launch: a batch has a few thousand targets. A thread makes one.
__global__ void readout_targets_kernel(View<const float, 2> rows,
                                       View<const ReadoutTarget, 1> targets,
                                       View<const float, 2> guess, View<float, 2> wanted) {
  const i64 i = static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= wanted.numel()) return;
  const i64 r = i / targets.size(0), y = i % targets.size(0);
  wanted(r, y) = readout_target(targets[y], &rows(r, 0), guess(r, y));
}

}  // namespace

void readout_targets(Context& ctx, View<const float, 2> rows, View<const ReadoutTarget, 1> targets,
                     View<const float, 2> guess, View<float, 2> wanted) {
  if (wanted.numel() == 0) return;
  launch(ctx, {"readout_targets", dim3(blocks_for(wanted.numel(), kThreads)), dim3(kThreads)},
         readout_targets_kernel, rows, targets, guess, wanted);
}

}  // namespace orrery::cuda
