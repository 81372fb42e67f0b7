#pragma once

// What kernels on rows of floats share. A row is cut into fours, and four number v of a row belongs
// to lane v % 32 of the warp that has the row, aligned or not: alignment changes loads, never the
// order of a sum.

#include "base/bf16.h"
#include "device/cuda.h"
#include "tensor/view.h"

namespace orrery::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// The sum over groups of `kLanes` neighbouring lanes, in every lane of the group, in a fixed order.
template <int kLanes = kWarp>
__device__ inline float group_sum(float value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}
template <int kLanes = kWarp>
__device__ inline float group_max(float value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, step));
  }
  return value;
}

// four neighbouring values
struct Four {
  float v[4];
};

// from[0, count) and zeros behind; kAligned: all four are there, at a multiple of 16 bytes
template <bool kAligned>
__device__ inline Four load_four(const float* from, i64 count) {
  Four four;
  if constexpr (kAligned) {
    const float4 loaded = *reinterpret_cast<const float4*>(from);
    four = {{loaded.x, loaded.y, loaded.z, loaded.w}};
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) four.v[i] = i < count ? from[i] : 0.0f;
  }
  return four;
}

// the same of bf16, where aligned is at a multiple of 8 bytes
template <bool kAligned>
__device__ inline Four load_four(const bf16* from, i64 count) {
  Four four;
  if constexpr (kAligned) {
    const uint2 loaded = *reinterpret_cast<const uint2*>(from);
    four = {{__uint_as_float(loaded.x << 16), __uint_as_float(loaded.x & 0xffff0000u),
             __uint_as_float(loaded.y << 16), __uint_as_float(loaded.y & 0xffff0000u)}};
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) four.v[i] = i < count ? static_cast<float>(from[i]) : 0.0f;
  }
  return four;
}

template <bool kAligned>
__device__ inline void store_four(const Four& four, float* to, i64 count) {
  if constexpr (kAligned) {
    *reinterpret_cast<float4*>(to) = make_float4(four.v[0], four.v[1], four.v[2], four.v[3]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < count) to[i] = four.v[i];
    }
  }
}

template <bool kAligned>
__device__ inline void store_four(const Four& four, bf16* to, i64 count) {
  if constexpr (kAligned) {
    const auto pair = [](float low, float high) {
      return static_cast<u32>(bf16(low).bits) | static_cast<u32>(bf16(high).bits) << 16;
    };
    *reinterpret_cast<uint2*>(to) =
        make_uint2(pair(four.v[0], four.v[1]), pair(four.v[2], four.v[3]));
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < count) to[i] = bf16(four.v[i]);
    }
  }
}

// whether rows of `width` values at these strides can be taken in fours of 16 bytes
inline bool in_fours(const void* data, i64 width, i64 outer_stride = 0, i64 inner_stride = 0) {
  return reinterpret_cast<std::size_t>(data) % 16 == 0 && width % 4 == 0 && outer_stride % 4 == 0 &&
         inner_stride % 4 == 0;
}
template <typename T>
bool in_fours(View<T, 3> view) {
  return in_fours(view.data(), view.size(2), view.stride(0), view.stride(1));
}
template <typename T>
bool in_fours(View<T, 2> view) {
  return in_fours(view.data(), view.size(1), view.stride(0));
}
template <typename T>
bool in_fours(View<T, 1> view) {
  return in_fours(view.data(), view.size(0));
}

}  // namespace orrery::cuda
