#include "plan/bounds.h"

#include "base/error.h"

namespace orrery {

ActionBounds action_bounds(const std::vector<double>& raw_low, const std::vector<double>& raw_high,
                           const ActionScale& scale, i64 action_block, BoundScale how) {
  check(raw_low.size() == raw_high.size() && !raw_low.empty(), "action bounds: ", raw_low.size(),
        " low and ", raw_high.size(), " high limits, one of each per action number was needed");
  check(action_block >= 1, "action bounds: action block is ", action_block,
        ", at least one step is needed");
  const bool scaled = how == BoundScale::action && !scale.mean.empty();
  check(!scaled || (scale.mean.size() == raw_low.size() && scale.std.size() == raw_low.size()),
        "action bounds: ", raw_low.size(), " limits, the action scale is of ", scale.mean.size(),
        " means and ", scale.std.size(), " stds");
  ActionBounds bounds;
  for (i64 step = 0; step < action_block; ++step) {
    for (std::size_t d = 0; d < raw_low.size(); ++d) {
      check(raw_low[d] <= raw_high[d], "action bounds: limits of number ", d, " are ", raw_low[d],
            " and ", raw_high[d], ", low was needed first");
      const double mean = scaled ? scale.mean[d] : 0;
      const double std = scaled ? scale.std[d] : 1;
      check(std > 0, "action bounds: std of number ", d, " is ", std, ", more than 0 was needed");
      bounds.low.push_back((raw_low[d] - mean) / std);
      bounds.high.push_back((raw_high[d] - mean) / std);
    }
  }
  return bounds;
}

}  // namespace orrery
