#pragma once

// What kernels may call: their place in the grid, barriers, warp collectives, atomics, intrinsics.
// Everything that reads or writes a kernel's memory is inline here, so that it is instrumented as
// the kernel is; everything that waits is in block.cpp and warp.cpp.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "emulation/types.h"

// set by the scheduler whenever another thread of the kernel goes on
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace emulation {

// Ends the process: one sentence on stderr that names kernel, block and thread. A debugger stops in
// abort() with the thread's own stack.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// The thread waits until `threads` threads of the block (0: all of them) have come to barrier `id`.
// How many of them brought something other than 0 is returned.
int barrier(unsigned id, unsigned threads, bool predicate);
// until the scheduler comes round again
void yield();
void fence();
unsigned active_lanes();

// What lanes bring to a collective of their warp lies on their own stacks. The last lane to come
// runs `complete` over all of them: lanes[i] is null where the mask does not name lane i. `orders`:
// memory too is in order behind it, as with __syncwarp.
using Complete = void (*)(void* const* lanes);
void collective(const char* name, unsigned mask, Complete complete, void* mine,
                bool orders = false);

enum class Shuffle { index, up, down, exclusive_or };
std::uint64_t shuffle(Shuffle kind, unsigned mask, std::uint64_t value, unsigned operand,
                      int width);
enum class Vote { ballot, all, any };
unsigned vote(Vote kind, unsigned mask, bool predicate);
enum class Reduction { add, minimum, maximum, bit_and, bit_or, bit_xor };
// over unsigned values, or over int ones
unsigned reduce(Reduction kind, unsigned mask, unsigned value, bool is_signed);
unsigned match_any(unsigned mask, std::uint64_t value);

// The block's dynamic shared memory: exactly as many bytes as the launch asked for, 128-aligned,
// each 0xFF when the block begins.
void* dynamic_shared_memory();

template <typename T>
T shuffled(Shuffle kind, unsigned mask, T value, unsigned operand, int width) {
  static_assert(std::is_arithmetic_v<T>, "shuffles move numbers");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(kind, mask, bits, operand, width);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Atomic, and ordering nothing else: that is what fences are for.
template <typename T, typename Change>
T atomic_change(T* where, Change change) {
  T seen;
  __atomic_load(where, &seen, __ATOMIC_RELAXED);
  for (;;) {
    T wanted = change(seen);
    if (__atomic_compare_exchange(where, &seen, &wanted, false, __ATOMIC_RELAXED,
                                  __ATOMIC_RELAXED)) {
      return seen;
    }
  }
}

}  // namespace emulation

// barriers and fences

inline void __syncthreads() { emulation::barrier(0, 0, false); }
inline int __syncthreads_count(int predicate) { return emulation::barrier(0, 0, predicate != 0); }
inline int __syncthreads_or(int predicate) {
  return emulation::barrier(0, 0, predicate != 0) != 0 ? 1 : 0;
}
inline int __syncthreads_and(int predicate) {
  return emulation::barrier(0, 0, predicate == 0) == 0 ? 1 : 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  emulation::collective(
      "__syncwarp", mask, [](void* const*) {}, &mask, true);
}
inline void __threadfence() { emulation::fence(); }
inline void __threadfence_block() { emulation::fence(); }
inline void __threadfence_system() { emulation::fence(); }
inline void __nanosleep(unsigned) { emulation::yield(); }
[[noreturn]] inline void __trap() { emulation::fail("__trap() was reached"); }

// warp collectives

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
  return emulation::shuffled(emulation::Shuffle::index, mask, value, static_cast<unsigned>(lane),
                             width);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return emulation::shuffled(emulation::Shuffle::up, mask, value, delta, width);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return emulation::shuffled(emulation::Shuffle::down, mask, value, delta, width);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
  return emulation::shuffled(emulation::Shuffle::exclusive_or, mask, value,
                             static_cast<unsigned>(lane_mask), width);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return emulation::vote(emulation::Vote::ballot, mask, predicate != 0);
}
inline int __all_sync(unsigned mask, int predicate) {
  return static_cast<int>(emulation::vote(emulation::Vote::all, mask, predicate != 0));
}
inline int __any_sync(unsigned mask, int predicate) {
  return static_cast<int>(emulation::vote(emulation::Vote::any, mask, predicate != 0));
}
inline unsigned __activemask() { return emulation::active_lanes(); }
template <typename T>
unsigned __match_any_sync(unsigned mask, T value) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return emulation::match_any(mask, bits);
}

#define EMULATED_REDUCTION(name, kind)                                                            \
  inline unsigned name(unsigned mask, unsigned value) {                                           \
    return emulation::reduce(emulation::Reduction::kind, mask, value, false);                     \
  }                                                                                               \
  inline int name(unsigned mask, int value) {                                                     \
    return static_cast<int>(                                                                      \
        emulation::reduce(emulation::Reduction::kind, mask, static_cast<unsigned>(value), true)); \
  }
EMULATED_REDUCTION(__reduce_add_sync, add)
EMULATED_REDUCTION(__reduce_min_sync, minimum)
EMULATED_REDUCTION(__reduce_max_sync, maximum)
#undef EMULATED_REDUCTION
inline unsigned __reduce_and_sync(unsigned mask, unsigned value) {
  return emulation::reduce(emulation::Reduction::bit_and, mask, value, false);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value) {
  return emulation::reduce(emulation::Reduction::bit_or, mask, value, false);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned value) {
  return emulation::reduce(emulation::Reduction::bit_xor, mask, value, false);
}

// atomics: the types that the hardware has, no others

#define EMULATED_ATOMIC(name, type, expression)                                            \
  inline type name(type* where, type value) {                                              \
    return emulation::atomic_change(where, [&](type seen) -> type { return expression; }); \
  }
EMULATED_ATOMIC(atomicAdd, int,
                static_cast<int>(static_cast<unsigned>(seen) + static_cast<unsigned>(value)))
EMULATED_ATOMIC(atomicAdd, unsigned, seen + value)
EMULATED_ATOMIC(atomicAdd, unsigned long long, seen + value)
EMULATED_ATOMIC(atomicAdd, float, seen + value)
EMULATED_ATOMIC(atomicAdd, double, seen + value)
EMULATED_ATOMIC(atomicSub, int,
                static_cast<int>(static_cast<unsigned>(seen) - static_cast<unsigned>(value)))
EMULATED_ATOMIC(atomicSub, unsigned, seen - value)
EMULATED_ATOMIC(atomicMax, int, std::max(seen, value))
EMULATED_ATOMIC(atomicMax, unsigned, std::max(seen, value))
EMULATED_ATOMIC(atomicMax, long long, std::max(seen, value))
EMULATED_ATOMIC(atomicMax, unsigned long long, std::max(seen, value))
EMULATED_ATOMIC(atomicMin, int, std::min(seen, value))
EMULATED_ATOMIC(atomicMin, unsigned, std::min(seen, value))
EMULATED_ATOMIC(atomicMin, long long, std::min(seen, value))
EMULATED_ATOMIC(atomicMin, unsigned long long, std::min(seen, value))
EMULATED_ATOMIC(atomicExch, int, (static_cast<void>(seen), value))
EMULATED_ATOMIC(atomicExch, unsigned, (static_cast<void>(seen), value))
EMULATED_ATOMIC(atomicExch, unsigned long long, (static_cast<void>(seen), value))
EMULATED_ATOMIC(atomicExch, float, (static_cast<void>(seen), value))
EMULATED_ATOMIC(atomicAnd, int, seen& value)
EMULATED_ATOMIC(atomicAnd, unsigned, seen& value)
EMULATED_ATOMIC(atomicAnd, unsigned long long, seen& value)
EMULATED_ATOMIC(atomicOr, int, seen | value)
EMULATED_ATOMIC(atomicOr, unsigned, seen | value)
EMULATED_ATOMIC(atomicOr, unsigned long long, seen | value)
EMULATED_ATOMIC(atomicXor, int, seen ^ value)
EMULATED_ATOMIC(atomicXor, unsigned, seen ^ value)
EMULATED_ATOMIC(atomicXor, unsigned long long, seen ^ value)
EMULATED_ATOMIC(atomicInc, unsigned, seen >= value ? 0u : seen + 1u)
EMULATED_ATOMIC(atomicDec, unsigned, seen == 0 || seen > value ? value : seen - 1u)
#undef EMULATED_ATOMIC

#define EMULATED_ATOMIC_CAS(type)                                                \
  inline type atomicCAS(type* where, type expected, type value) {                \
    __atomic_compare_exchange(where, &expected, &value, false, __ATOMIC_RELAXED, \
                              __ATOMIC_RELAXED);                                 \
    return expected;                                                             \
  }
EMULATED_ATOMIC_CAS(int)
EMULATED_ATOMIC_CAS(unsigned)
EMULATED_ATOMIC_CAS(unsigned long long)
EMULATED_ATOMIC_CAS(unsigned short)
#undef EMULATED_ATOMIC_CAS

// loads and stores with a hint about caches

template <typename T>
T __ldg(const T* from) {
  return *from;
}
template <typename T>
T __ldcg(const T* from) {
  return *from;
}
template <typename T>
T __ldca(const T* from) {
  return *from;
}
template <typename T>
T __ldcs(const T* from) {
  return *from;
}
template <typename T>
void __stcg(T* to, T value) {
  *to = value;
}
template <typename T>
void __stcs(T* to, T value) {
  *to = value;
}
template <typename T>
void __stwt(T* to, T value) {
  *to = value;
}

#include "emulation/math.h"
