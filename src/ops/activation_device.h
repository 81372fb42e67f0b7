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

// (1 + erf(v / sqrt 2)) / 2 + v exp(-v^2 / 2) / sqrt(2 pi)
__device__ inline float gelu_slope(float v) {
  constexpr float kInverseSqrt2Pi = 0.39894228f;
  const float density = kInverseSqrt2Pi * expf(-0.5f * v * v);
  return fmaf(v, density, 0.5f * erfcf(-v * 0.70710678f));
}

// s + v s (1 - s), s = 1 / (1 + exp(-v))
__device__ inline float silu_slope(float v) {
  const float s = 1.0f / (1.0f + expf(-v));
  return fmaf(v * s, 1.0f - s, s);
}

__device__ inline float activation_slope(Activation activation, float v) {
  if (activation == Activation::gelu) return gelu_slope(v);
  if (activation == Activation::silu) return silu_slope(v);
  return 1.0f;
}

__device__ inline float activated(Activation activation, float v) {
  if (activation == Activation::gelu) return gelu(v);
  if (activation == Activation::silu) return silu(v);
  return v;
}

}  // namespace orrery::cuda
