#pragma once

#include "base/host_device.h"
#include "plan/elites.h"

namespace orrery {

// How many of the elites count: NaN costs are the last of their order.
template <typename T>
ORRERY_HD i64 usable_elites(const T* costs, const i32* order, i64 elites, NanCosts nan) {
  if (nan == NanCosts::as_released) return elites;
  i64 usable = elites;
  while (usable > 0 && costs[order[usable - 1]] != costs[order[usable - 1]]) --usable;
  return usable;
}

// By how much an elite costs more than the best. Two infinities cost the same, but in the released
// planner, where their difference is NaN.
template <typename T>
ORRERY_HD double cost_above(T cost, T lowest, NanCosts nan) {
  if (nan == NanCosts::never_win && cost == lowest) return 0;
  return static_cast<double>(cost) - static_cast<double>(lowest);
}

}  // namespace orrery
