#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// How far a search is, in memory of the context's device, so that a captured iteration needs no
// host.
inline constexpr i64 kIterationsDone = 0;
inline constexpr i64 kKeepGoing = 1;  // 1 while another iteration is wanted, then 0
inline constexpr i64 kProgressSize = 2;

// Counts one iteration and decides whether another one is wanted: while fewer than `iterations` are
// done, and some environment's spread (std), averaged over its numbers, is above enough_std (or
// NaN).
//
//   spread     [group, horizon, action_dim], contiguous
//   progress   [kProgressSize]
//
// exact on the CPU; on CUDA averages may differ in last bits. CUDA: float only.
template <typename T>
void advance(Context& ctx, View<const T, 3> spread, i64 iterations, double enough_std,
             View<i32, 1> progress);

}  // namespace orrery
