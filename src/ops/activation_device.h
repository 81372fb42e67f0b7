#pragma once

// Activations inside kernels: in the operation of their own and in the matrix product's epilogue.

#include "device/cuda.h"
#include "ops/activation.h"

namespace orrery::cuda {

// v erfc(-v / sqrt 2) / 2. erfc magnifies the rounding of its argument by up to 2 t^2 on the left
// tail, so what the product's rounding lost is put back to first order.
__device__ inline float gelu(float v) {
  constexpr float kHigh = 0.70710678f;    // sqrt(1/2) rounded to float
  constexpr float kLow = 1.21016175e-8f;  // and what that leaves
  constexpr float kTwoOverSqrtPi = 1.1283792f;
  const float t = -v * kHigh;
  const float lost = fmaf(-v, kHigh, -t) - v * kLow;
  const float slope = kTwoOverSqrtPi * expf(-t * t);
  const float tail = erfcf(t);
  return 0.5f * v * (fabsf(v) < 14.0f ? tail - slope * lost : tail);
}

__device__ inline float silu(float v) { return v / (1.0f + expf(-v)); }

__device__ inline float activated(Activation activation, float v) {
  if (activation == Activation::gelu) return gelu(v);
  if (activation == Activation::silu) return silu(v);
  return v;
}

}  // namespace orrery::cuda
