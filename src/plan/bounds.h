#pragma once

#include <vector>

#include "plan/policy.h"

namespace orrery {

// Limits of every number of a block, in the space that a planner plans in: the model's, z-scored.
// Both empty: none.
struct ActionBounds {
  std::vector<double> low;
  std::vector<double> high;
};

// Which limits the raw limits of an environment become.
enum class BoundScale {
  action,  // z-scored as the actions are, (raw - mean) / std: the planner may use what the
           // environment allows, all of it and nothing beyond
  none,    // taken as they are for z-scored numbers: the released iCEM, which keeps every action
           // within raw-limit standard deviations of the mean action
};

// Bounds of a block of action_block raw actions with limits raw_low and raw_high, one per raw
// action number, repeated for every step of the block. Error when sizes do not fit, a limit is NaN,
// or low is above high.
ActionBounds action_bounds(const std::vector<double>& raw_low, const std::vector<double>& raw_high,
                           const ActionScale& scale, i64 action_block,
                           BoundScale how = BoundScale::action);

}  // namespace orrery
