#pragma once

// What kernels on pictures share.

#include "device/cuda.h"
#include "ops/image.h"
#include "ops/resize_taps.h"

namespace orrery::cuda {

// A byte's value (or one between bytes) of channel c as torchvision converts and normalises it,
// each step rounded to float: image_ref.h, bit for bit.
__device__ inline float normalized(float byte, int c) {
  constexpr float kMeans[3] = {kImageMean[0], kImageMean[1], kImageMean[2]};
  constexpr float kDeviations[3] = {kImageStd[0], kImageStd[1], kImageStd[2]};
  const float mean = c == 0 ? kMeans[0] : c == 1 ? kMeans[1] : kMeans[2];
  const float deviation = c == 0 ? kDeviations[0] : c == 1 ? kDeviations[1] : kDeviations[2];
  return __fdiv_rn(__fsub_rn(__fmul_rn(byte, 1.0f / 255.0f), mean), deviation);
}

// the filter's table in tap_bytes(in, out) of the device's memory
Taps make_taps(Context& ctx, i64 in, i64 out, std::byte* memory);

}  // namespace orrery::cuda
