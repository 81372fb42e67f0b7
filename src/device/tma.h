#pragma once

// For .cu files: barriers that count bytes, and the bulk copy engine that arrives at them (TMA), of
// compute capability 9.0. Code for older devices has not got them and traps: a launcher must not
// come here. Emulated by tests/emulation/hopper.cpp.
//
// Each function is called by one thread.
//
// source: PTX ISA 8.x, "mbarrier", "cp.async.bulk.tensor"

#include <cuda.h>

#include "device/ptx.h"
#include "device/tensor_map.h"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define ORRERY_TMA 1
#else
#define ORRERY_TMA 0
#endif

namespace orrery {

// The engine's own form of a shape, to be given to kernels as a __grid_constant__ argument:
// captured work keeps it. Error when the driver does not know the engine or refuses the shape.
CUtensorMap encoded(const TensorMapShape& shape);

// In shared memory, at a multiple of 8. See ring.h for phases and parities.
using PhaseBarrier = u64;

// phases of `arrivals` arrivals; known to the engine and to other threads after publish_barriers
// and a barrier of the block
__device__ __forceinline__ void init_barrier(PhaseBarrier* barrier, u32 arrivals) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::barrier_init(barrier, arrivals);
#elif ORRERY_TMA
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
#else
  __trap();
#endif
}
__device__ __forceinline__ void publish_barriers() {
#if ORRERY_TMA && !defined(ORRERY_CUDA_EMULATED)
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// What the thread did before is done for those that wait for the phase.
__device__ __forceinline__ void arrive(PhaseBarrier* barrier) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::barrier_arrive(barrier, 0);
#elif ORRERY_TMA
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
#else
  __trap();
#endif
}
// Arrives, and the phase ends only when `bytes` more have been loaded, below 2^20 at a time.
__device__ __forceinline__ void arrive_expecting(PhaseBarrier* barrier, u32 bytes) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::barrier_arrive(barrier, bytes);
#elif ORRERY_TMA
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
#else
  __trap();
#endif
}
// until the last phase that ended has this parity
__device__ __forceinline__ void wait_phase(PhaseBarrier* barrier, u32 parity) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::barrier_wait(barrier, parity);
#elif ORRERY_TMA
  u32 ended = 0;
  while (ended == 0) {
    asm volatile(
        "{\n"
        ".reg .pred ended;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
        "selp.u32 %0, 1, 0, ended;\n"
        "}"
        : "=r"(ended)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  }
#else
  __trap();
#endif
}

// Asks for the box that begins at byte `inner` of row `outer` of the matrix: it is written to
// `shared`, a multiple of 1024, and counted at the barrier, all of its bytes wherever the matrix
// ends.
__device__ __forceinline__ void load_box(void* shared, const CUtensorMap& map, i32 inner, i32 outer,
                                         PhaseBarrier* barrier) {
#if defined(ORRERY_CUDA_EMULATED)
  emulation::load_box(shared, &map, inner, outer, barrier);
#elif ORRERY_TMA
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(shared)),
      "l"(&map), "r"(shared_address(barrier)), "r"(inner), "r"(outer)
      : "memory");
#else
  __trap();
#endif
}
// Brings the map itself near: the first load comes sooner.
__device__ __forceinline__ void prefetch_map(const CUtensorMap& map) {
#if ORRERY_TMA && !defined(ORRERY_CUDA_EMULATED)
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
#else
  static_cast<void>(map);
#endif
}

}  // namespace orrery
