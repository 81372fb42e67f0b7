#pragma once

// For .cu files: single instructions that CUDA C++ has no word for, each in a function of its own.
// Compiled by nvcc they are inline PTX; compiled for the host emulation (ORRERY_CUDA_EMULATED) they
// are loops over the lanes of a warp, tests/emulation/warp.cpp, which read the same layouts.
//
// Every function named after a warp's instruction is called by all 32 lanes together.
// source: PTX ISA 8.x, "Matrix multiply-accumulate operation using mma instruction" and ldmatrix

#include <cuda_runtime.h>

#include "base/types.h"

#if defined(ORRERY_CUDA_EMULATED)
#include <emulation/fragments.h>  // comes with what stands in for the toolkit
#include <emulation/hopper.h>
#endif

namespace orrery {

// The block's dynamic shared memory, 128-aligned. What it holds at first is anybody's guess.
template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
#if defined(ORRERY_CUDA_EMULATED)
  return static_cast<T*>(emulation::dynamic_shared_memory());
#else
  extern __shared__ __align__(128) unsigned char orrery_dynamic_shared[];
  return reinterpret_cast<T*>(orrery_dynamic_shared);
#endif
}

// Matrix products: d [16, 8] += a [16, k] b [k, 8], the matrices spread over the lanes of the warp.
//
// With g = lane / 4 (0..7) and t = lane % 4, a lane holds
//
//   d[0], d[1]   row g,     columns 2t and 2t + 1
//   d[2], d[3]   row g + 8, the same columns
//
// and of a and b registers of 32 bits with n neighbours along k in each, the first in the low bits
// (n = 1 for tf32, k = 8; n = 2 for bf16, k = 16; n = 4 for bytes, k = 32):
//
//   a[0]   row g,     k from n t              b[0]   k from n t,       column g
//   a[1]   row g + 8, k from n t              b[1]   k from n t + 4 n, column g
//   a[2]   row g,     k from n t + 4 n
//   a[3]   row g + 8, k from n t + 4 n
//
// So a and b are the same picture when b is kept transposed, [8, k] with k innermost, as the
// weights of a linear layer are. A row of 4 n elements is 16 bytes whatever their type: ldmatrix_x4
// fills a, lane l offering row l % 16 at k = (l / 16) 4 n; ldmatrix_x2 fills b from the transposed
// matrix, lane l (0..15) offering column l % 8 at k = (l / 8) 4 n.
//
// tolerant: products exact, sums in f32 in an order of the hardware's own; s8 is exact

// bf16, k = 16
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const u32 (&a)[4],
                                                  const u32 (&b)[2]) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::mma_bf16(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// tf32, k = 8: registers hold floats of which the upper 19 bits count, see to_tf32
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const u32 (&a)[4],
                                                 const u32 (&b)[2]) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::mma_tf32(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// signed bytes, k = 32, sums in i32
__device__ __forceinline__ void mma_m16n8k32_s8(i32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::mma_s8(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Bytes of four exponent and three mantissa bits (e4m3), k = 32. Compute capability 8.9 and later:
// the launcher must not choose it below, where it traps.
__device__ __forceinline__ void mma_m16n8k32_e4m3(float (&d)[4], const u32 (&a)[4],
                                                  const u32 (&b)[2]) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::mma_e4m3(d, a, b);
#elif !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

// Matrices of 8 rows of 16 bytes, from shared memory into registers. `row`, 16-aligned, is where
// lane 8 m + r finds row r of matrix m (x2: lanes 16 to 31 may offer anything valid). parts[m] is
// of matrix m
//
//   as it is     row lane / 4, its (lane % 4)-th word of four bytes: two halves, the first one low
//   transposed   of elements of 16 bits: rows 2 (lane % 4) and one further, in column lane / 4
#if defined(ORRERY_CUDA_EMULATED)
inline u32 shared_address(const void* pointer) { return emulation::shared_address(pointer); }
inline void ldmatrix_x4(u32 (&parts)[4], const void* row) {
  emulation::load_matrices(parts, row, false);
}
inline void ldmatrix_x2(u32 (&parts)[2], const void* row) {
  emulation::load_matrices(parts, row, false);
}
inline void ldmatrix_x4_trans(u32 (&parts)[4], const void* row) {
  emulation::load_matrices(parts, row, true);
}
inline void ldmatrix_x2_trans(u32 (&parts)[2], const void* row) {
  emulation::load_matrices(parts, row, true);
}
#else
// shared memory as PTX names it
__device__ __forceinline__ u32 shared_address(const void* pointer) {
  return static_cast<u32>(__cvta_generic_to_shared(pointer));
}
__device__ __forceinline__ void ldmatrix_x4(u32 (&parts)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(u32 (&parts)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(parts[0]), "=r"(parts[1])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(u32 (&parts)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2_trans(u32 (&parts)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(parts[0]), "=r"(parts[1])
               : "r"(shared_address(row))
               : "memory");
}
#endif

// Asynchronous copies from global to shared memory. They are asked for, gathered in groups
// (cp_async_commit), and there for the asking thread when it has waited; for the others after a
// barrier besides. !valid: zeros are written and nothing is read, so `global` may then be anything.

// 16 bytes past the first cache; both sides 16-aligned
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, bool valid = true) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::copy_async(shared, global, 16, valid);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
               : "memory");
#endif
}
// 4 bytes, 4-aligned
__device__ __forceinline__ void cp_async_4(void* shared, const void* global, bool valid = true) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::copy_async(shared, global, 4, valid);
#else
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(valid ? 4 : 0)
               : "memory");
#endif
}
// what was asked for since the last commit is one group, be it empty
__device__ __forceinline__ void cp_async_commit() {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::copy_commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// until no more than Pending of the groups committed last are under way
template <int Pending>
__device__ __forceinline__ void cp_async_wait() {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::copy_wait(Pending);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
#endif
}
// until none is, committed or not
__device__ __forceinline__ void cp_async_wait_all() {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::copy_wait_all();
#else
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// A barrier of `threads` threads (whole warps) of the block; id 1 to 15, for 0 is __syncthreads.
__device__ __forceinline__ void barrier_sync(u32 id, u32 threads) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::barrier(id, threads, false);
#else
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#endif
}

// Number formats. Rounding is to nearest, and exact: the same bits on every device and emulated.

// f32 to the nearest tf32, ties away from zero: 10 bits of mantissa, the lower 13 of 23 are 0
__device__ __forceinline__ u32 to_tf32(float value) {
#if defined(ORRERY_CUDA_EMULATED)
  const u32 bits = __float_as_uint(value);
  // infinities and NaN stay what they are
  return (bits & 0x7f800000u) == 0x7f800000u ? bits & 0xffffe000u : (bits + 0x1000u) & 0xffffe000u;
#else
  u32 bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
#endif
}

// f32 to the nearest bf16, ties to even; a NaN is 0x7fff
__device__ __forceinline__ u32 bf16_bits(float value) {
#if defined(ORRERY_CUDA_EMULATED)
  const u32 bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
#else
  u16 bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
#endif
}
// two of them in a register, `low` in the low half: neighbours along k
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
#if defined(ORRERY_CUDA_EMULATED)
  return bf16_bits(low) | bf16_bits(high) << 16;
#else
  u32 bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
#endif
}
__device__ __forceinline__ float bf16_low(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float bf16_high(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

// f32 to the nearest integer of [-127, 127], ties to even: -128 is not used, so that negation is
// exact
__device__ __forceinline__ u32 s8_bits(float value) {
  const int rounded = __float2int_rn(value);
  return static_cast<u32>(rounded < -127 ? -127 : rounded > 127 ? 127 : rounded) & 0xffu;
}
// four bytes in a register, the first one low
__device__ __forceinline__ u32 pack_bytes(u32 first, u32 second, u32 third, u32 fourth) {
  return first | second << 8 | third << 16 | fourth << 24;
}

// f32 to the nearest e4m3, ties to even; beyond 448 the largest, 448. Below capability 8.9 there is
// no instruction, and none is needed: the products are not there either.
__device__ __forceinline__ u32 e4m3_bits(float value) {
  const u32 sign = __float_as_uint(value) >> 24 & 0x80u;
  const u32 magnitude = __float_as_uint(value) & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return 0x7fu;
  if (magnitude >= 0x43e00000u) return sign | 0x7eu;  // 448
  if (magnitude < 0x3c800000u) {
    // below 2^-6 steps are 2^-9: adding 2^14 leaves a float whose last bit is worth that
    const float shifted = __fadd_rn(__uint_as_float(magnitude), 16384.0f);
    return sign | (__float_as_uint(shifted) - 0x46800000u);
  }
  // 3 of 23 bits of mantissa stay, and the exponent counts from 7 instead of 127
  const u32 rounded = magnitude + 0x7ffffu + (magnitude >> 20 & 1u);
  const u32 bits = (rounded >> 20) - (120u << 3);
  return sign | (bits > 0x7eu ? 0x7eu : bits);
}

// the device's clock of wall time, ns; its steps may be as long as a microsecond
__device__ __forceinline__ u64 global_timer() {
#if defined(ORRERY_CUDA_EMULATED)
  return emulation::nanoseconds();
#else
  u64 now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
#endif
}

}  // namespace orrery
