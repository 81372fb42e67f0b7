#pragma once

// What device/tma.h and device/wgmma.h call where nvcc would assemble an instruction of compute
// capability 9.0.
//
// source: PTX ISA 8.x, "mbarrier", "cp.async.bulk.tensor", "wgmma.mma_async"

#include <cstdint>

#include "cuda.h"
#include "emulation/device.h"

namespace emulation {

// Addresses of shared memory as PTX has them. Dynamic shared memory begins at a multiple of 128 and
// no larger power of two: the system has what is before it.
inline constexpr std::uint32_t kSharedWindow = 1024 + 128;
std::uint32_t shared_address(const void* pointer);
void* shared_pointer(std::uint32_t address, unsigned bytes);

// mbarrier: a phase ends when `arrivals` have arrived and all bytes are there that were announced
void barrier_init(std::uint64_t* barrier, unsigned arrivals);
// bytes: announced first (expect_tx)
void barrier_arrive(std::uint64_t* barrier, unsigned bytes);
// until the phase with this parity has ended. Whoever waits does the loads that the barrier is for.
void barrier_wait(std::uint64_t* barrier, unsigned parity);

// a box of a matrix, from element `inner` of row `outer` on, to shared memory; zeros beyond
void load_box(void* to, const CUtensorMap* map, int inner, int outer, std::uint64_t* barrier);

// d [64, columns] += a [64, 32 bytes] b [columns, 32 bytes]^T, both in shared memory as described.
// Nothing is read before the product is waited for, so that whoever overwrites too early is seen.
enum class WarpgroupKind { bf16, s8, e4m3 };
inline constexpr int kWarpgroupColumns = 192;
void warpgroup_fence();
void warpgroup_multiply(WarpgroupKind kind, void* d, std::uint64_t a, std::uint64_t b);
void warpgroup_commit();
// until at most `pending` groups are left
void warpgroup_wait(unsigned pending);

}  // namespace emulation
