#pragma once

// For .cu files: products of a warpgroup (four warps that begin at a multiple of four) on compute
// capability 9.0, with both factors in shared memory. Only code for sm_90a has the instructions;
// elsewhere they trap, and a launcher must not come here. Emulated by tests/emulation/hopper.cpp.
//
// Every function is called by all 128 threads together.
//
// source: PTX ISA 8.x, "Asynchronous warpgroup level matrix instructions"

#include <cuda_runtime.h>

#include <cstddef>
#include <type_traits>

#include "base/types.h"
#include "device/ptx.h"
#include "device/wgmma_layout.h"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define ORRERY_WGMMA 1
#else
#define ORRERY_WGMMA 0
#endif

namespace orrery {

// the first place from `shared` on where a pattern can begin
__device__ __forceinline__ std::byte* pattern_start(std::byte* shared) {
  return shared + (kWgmmaPattern - shared_address(shared) % kWgmmaPattern) % kWgmmaPattern;
}

// Before the first product of a group: registers of sums are the instruction's from here on.
__device__ __forceinline__ void wgmma_fence() {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::warpgroup_fence();
#elif ORRERY_WGMMA
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void wgmma_commit() {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::warpgroup_commit();
#elif ORRERY_WGMMA
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
// until no more than kPending of the groups committed last are under way
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::warpgroup_wait(kPending);
#elif ORRERY_WGMMA
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#endif
}
// The compiler sees no product behind the registers of sums: before wgmma_fence and after the wait
// this keeps it from moving what reads or writes them to the other side.
template <typename Sum>
__device__ __forceinline__ void wgmma_hold(Sum (&d)[24][4]) {
#if ORRERY_WGMMA
#pragma unroll
  for (int i = 0; i < 96; ++i) {
    if constexpr (std::is_same_v<Sum, float>) {
      asm volatile("" : "+f"(d[i / 4][i % 4])::"memory");
    } else {
      asm volatile("" : "+r"(d[i / 4][i % 4])::"memory");
    }
  }
#else
  static_cast<void>(d);
#endif
}
// What this thread wrote to shared memory becomes visible to products, after a barrier besides.
__device__ __forceinline__ void wgmma_publish() {
#if ORRERY_WGMMA
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// d [64, 192] += a [64, k] b [k, 192], b kept transposed: 32 bytes along k of each (bf16 k = 16,
// tf32 k = 8, bytes k = 32). Warp w of the four has rows 16 w to 16 w + 15; of these and each eight
// columns d[j] holds what ptx.h says of mma's d.
#define ORRERY_WGMMA_SUMS                                                            \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "          \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95}, "
#define ORRERY_WGMMA_FOUR(c, j) c(d[j][0]), c(d[j][1]), c(d[j][2]), c(d[j][3])
#define ORRERY_WGMMA_ALL(c)                                                         \
  ORRERY_WGMMA_FOUR(c, 0), ORRERY_WGMMA_FOUR(c, 1), ORRERY_WGMMA_FOUR(c, 2),        \
      ORRERY_WGMMA_FOUR(c, 3), ORRERY_WGMMA_FOUR(c, 4), ORRERY_WGMMA_FOUR(c, 5),    \
      ORRERY_WGMMA_FOUR(c, 6), ORRERY_WGMMA_FOUR(c, 7), ORRERY_WGMMA_FOUR(c, 8),    \
      ORRERY_WGMMA_FOUR(c, 9), ORRERY_WGMMA_FOUR(c, 10), ORRERY_WGMMA_FOUR(c, 11),  \
      ORRERY_WGMMA_FOUR(c, 12), ORRERY_WGMMA_FOUR(c, 13), ORRERY_WGMMA_FOUR(c, 14), \
      ORRERY_WGMMA_FOUR(c, 15), ORRERY_WGMMA_FOUR(c, 16), ORRERY_WGMMA_FOUR(c, 17), \
      ORRERY_WGMMA_FOUR(c, 18), ORRERY_WGMMA_FOUR(c, 19), ORRERY_WGMMA_FOUR(c, 20), \
      ORRERY_WGMMA_FOUR(c, 21), ORRERY_WGMMA_FOUR(c, 22), ORRERY_WGMMA_FOUR(c, 23)
// `tail`: what follows the factors; the first of them, 1, is "add to d"
#define ORRERY_WGMMA_ADD(kind, tail, c)                                                            \
  asm volatile("wgmma.mma_async.sync.aligned.m64n192" kind " " ORRERY_WGMMA_SUMS "%96, %97, " tail \
               ";"                                                                                 \
               : ORRERY_WGMMA_ALL(c)                                                               \
               : "l"(a), "l"(b)                                                                    \
               : "memory")

__device__ __forceinline__ void wgmma_bf16(float (&d)[24][4], u64 a, u64 b) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::warpgroup_multiply(emulation::WarpgroupKind::bf16, d, a, b);
#elif ORRERY_WGMMA
  ORRERY_WGMMA_ADD("k16.f32.bf16.bf16", "1, 1, 1, 0, 0", "+f");
#else
  __trap();
#endif
}
__device__ __forceinline__ void wgmma_s8(i32 (&d)[24][4], u64 a, u64 b) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::warpgroup_multiply(emulation::WarpgroupKind::s8, d, a, b);
#elif ORRERY_WGMMA
  ORRERY_WGMMA_ADD("k32.s32.s8.s8", "1", "+r");
#else
  __trap();
#endif
}
__device__ __forceinline__ void wgmma_e4m3(float (&d)[24][4], u64 a, u64 b) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::warpgroup_multiply(emulation::WarpgroupKind::e4m3, d, a, b);
#elif ORRERY_WGMMA
  ORRERY_WGMMA_ADD("k32.f32.e4m3.e4m3", "1, 1, 1", "+f");
#else
  __trap();
#endif
}

#undef ORRERY_WGMMA_ADD
#undef ORRERY_WGMMA_ALL
#undef ORRERY_WGMMA_FOUR
#undef ORRERY_WGMMA_SUMS

}  // namespace orrery
