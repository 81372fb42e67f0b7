#pragma once

#include "base/host_device.h"
#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// How far a search is, in memory of the context's device, so that a captured iteration needs no
// host.
inline constexpr i64 kIterationsDone = 0;
inline constexpr i64 kKeepGoing = 1;  // 1 while another iteration is wanted, then 0
inline constexpr i64 kProgressSize = 2;

// How long a plan may take, in nanoseconds of the backend's own clock.
inline constexpr i64 kBudget = 0;  // 0: as long as it likes
inline constexpr i64 kBegan = 1;
inline constexpr i64 kClockSize = 2;

// The plan begins now: clock[kBegan]. clock [kClockSize]
void start_clock(Context& ctx, View<u64, 1> clock);

// Counts one iteration and decides whether another one is wanted: while fewer than `iterations` are
// done, some environment's spread (std), averaged over its numbers, is above enough_std (or NaN),
// and another iteration, if it takes as long as those before did on average, ends within the
// budget.
//
//   spread     [group, horizon, action_dim], contiguous
//   clock      [kClockSize]
//   progress   [kProgressSize]
//
// exact on the CPU, but for the clock; on CUDA averages may differ in last bits. CUDA: float only.
template <typename T>
void advance(Context& ctx, View<const T, 3> spread, i64 iterations, double enough_std,
             View<const u64, 1> clock, View<i32, 1> progress);

// whether iteration done + 1 would end in time
ORRERY_HD constexpr bool another_fits(u64 budget, u64 elapsed, i64 done) {
  const auto each = static_cast<double>(elapsed) / static_cast<double>(done);
  return budget == 0 || static_cast<double>(elapsed) + each <= static_cast<double>(budget);
}

}  // namespace orrery
