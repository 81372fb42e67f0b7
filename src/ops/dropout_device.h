#pragma once

// Dropout's masks inside kernels: the same numbers as the CPU draws.

#include "base/philox.h"
#include "device/cuda.h"
#include "ops/dropout.h"

namespace orrery::cuda {

// What a thread draws its elements' factors with: 0 or 1 / (1 - rate). Four elements share one
// call of Philox, which is kept until another four are asked for.
class Mask {
 public:
  __device__ explicit Mask(const Dropout& settings)
      : settings_(settings),
        stream_(settings.stream_there != nullptr ? *settings.stream_there : settings.stream),
        kept_(1.0f / (1.0f - settings.rate)) {}

  __device__ float operator()(i64 index) {
    if (settings_.rate == 0.0f) return 1.0f;
    const u64 element = static_cast<u64>(settings_.first + index);
    if (element / 4 != block_) {
      block_ = element / 4;
      bits_ = philox(settings_.seed, stream_, block_);
    }
    // no array in local memory: the place is chosen by comparing
    const u32 at = static_cast<u32>(element % 4);
    const u32 low = at == 0 ? bits_[0] : bits_[1], high = at == 2 ? bits_[2] : bits_[3];
    return uniform_from_bits(at < 2 ? low : high) < settings_.rate ? 0.0f : kept_;
  }

 private:
  const Dropout& settings_;
  u64 stream_;
  float kept_;
  std::array<u32, 4> bits_ = {};
  u64 block_ = ~u64{0};
};

}  // namespace orrery::cuda
