#pragma once

// Words and types of CUDA C++ as an ordinary compiler takes them.

#include <cstddef>
#include <cstdint>

#define __host__
#define __device__
#define __global__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

// One block runs at a time, so what is shared by a block may be a static variable. Under
// ThreadSanitizer every block has an operating system's thread of its own: its copies are then
// fresh, and blocks are not ordered by having used the same memory one after another.
#if defined(__SANITIZE_THREAD__)
#define __shared__ static thread_local
#else
#define __shared__ static
#endif

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

#define EMULATED_VECTOR_2(name, scalar)     \
  struct alignas(2 * sizeof(scalar)) name { \
    scalar x, y;                            \
  };                                        \
  constexpr name make_##name(scalar x, scalar y) { return {x, y}; }
#define EMULATED_VECTOR_3(name, scalar) \
  struct name {                         \
    scalar x, y, z;                     \
  };                                    \
  constexpr name make_##name(scalar x, scalar y, scalar z) { return {x, y, z}; }
#define EMULATED_VECTOR_4(name, scalar)                                    \
  struct alignas(4 * sizeof(scalar) < 16 ? 4 * sizeof(scalar) : 16) name { \
    scalar x, y, z, w;                                                     \
  };                                                                       \
  constexpr name make_##name(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }

EMULATED_VECTOR_2(char2, signed char)
EMULATED_VECTOR_2(uchar2, unsigned char)
EMULATED_VECTOR_2(short2, short)
EMULATED_VECTOR_2(ushort2, unsigned short)
EMULATED_VECTOR_2(int2, int)
EMULATED_VECTOR_2(uint2, unsigned)
EMULATED_VECTOR_2(longlong2, long long)
EMULATED_VECTOR_2(ulonglong2, unsigned long long)
EMULATED_VECTOR_2(float2, float)
EMULATED_VECTOR_2(double2, double)
EMULATED_VECTOR_3(int3, int)
EMULATED_VECTOR_3(float3, float)
EMULATED_VECTOR_3(double3, double)
EMULATED_VECTOR_3(uchar3, unsigned char)
EMULATED_VECTOR_4(char4, signed char)
EMULATED_VECTOR_4(uchar4, unsigned char)
EMULATED_VECTOR_4(short4, short)
EMULATED_VECTOR_4(ushort4, unsigned short)
EMULATED_VECTOR_4(int4, int)
EMULATED_VECTOR_4(uint4, unsigned)
EMULATED_VECTOR_4(float4, float)
EMULATED_VECTOR_4(double4, double)
constexpr uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }

#undef EMULATED_VECTOR_2
#undef EMULATED_VECTOR_3
#undef EMULATED_VECTOR_4
