#pragma once

#include <functional>
#include <span>
#include <vector>

#include "plan/dynamics.h"
#include "plan/trace.h"

namespace orrery {

// Which plan of which environment draws random numbers: the same key draws the same numbers,
// whatever else is planned beside it.
struct PlanKey {
  i64 environment = 0;
  i64 plan = 0;
};

// What a planner is asked, for every environment of a Dynamics. In host memory, wherever the
// planner works.
template <typename T>
struct BasicPlanRequest {
  // first guess, [environments, given, action_dim] with given <= horizon; empty: none. The missing
  // blocks are proposed by the dynamics. Only read.
  View<const T, 3> warm_start;
  // one per environment; empty: environment e, plan 0
  std::span<const PlanKey> keys;
  // Milliseconds that the search may take, 0 for no limit: it then ends before the iteration that
  // would go beyond, with the best it has; one iteration is always made. Where environments are
  // planned in groups, the limit is each group's.
  double budget_ms = 0;
  // What the budget is measured by, for tests and simulated time: nanoseconds on a clock that never
  // goes back, asked by the host at the beginning and after every iteration. Null: the clock of
  // where the planner works.
  const std::function<u64()>* clock = nullptr;
};

// What it answers, into host memory of the caller.
template <typename T>
struct BasicPlanResult {
  View<T, 3> actions;  // [environments, horizon, action_dim]
  View<T, 1> cost;     // [environments]; may be empty
  View<T, 3> std;      // [environments, horizon, action_dim], spread left at the end; may be empty
};

// A search for actions of low cost. Made once with all its memory; `plan` allocates nothing.
template <typename T>
class BasicPlanner {
 public:
  virtual ~BasicPlanner() = default;

  virtual i64 horizon() const = 0;
  virtual i64 action_dim() const = 0;
  virtual i64 max_environments() const = 0;
  // the most environments, and candidates of each, that it asks a dynamics about in one call
  virtual i64 most_at_once() const { return max_environments(); }
  virtual i64 samples() const { return 1; }
  // whether a dynamics must be one of plan/differentiable.h
  virtual bool needs_gradients() const { return false; }

  // Where plans from now on tell how they were found, one trace per environment of the dynamics,
  // emptied when a plan begins; null: nobody wants to know. A traced plan allocates, and on a CUDA
  // device every iteration is brought to the host.
  void set_trace(std::vector<PlanTrace>* traces) { traces_ = traces; }

  // Error when dynamics, request or result do not fit the planner
  virtual void plan(Context& ctx, BasicDynamics<T>& dynamics, const BasicPlanRequest<T>& request,
                    const BasicPlanResult<T>& result) = 0;

 protected:
  std::vector<PlanTrace>* traces_ = nullptr;
};

using PlanRequest = BasicPlanRequest<float>;
using PlanResult = BasicPlanResult<float>;
using Planner = BasicPlanner<float>;

// sizes a planner is made for
struct PlanSizes {
  i64 environments = 1;  // at most so many at once
  i64 horizon = 5;       // blocks
  i64 action_dim = 2;    // numbers a block
};

// the checks that every planner makes at its door
template <typename T>
void check_plan(const char* name, const PlanSizes& sizes, const BasicDynamics<T>& dynamics,
                const BasicPlanRequest<T>& request, const BasicPlanResult<T>& result) {
  const i64 count = dynamics.environments();
  check(count >= 1 && count <= sizes.environments, name, ": dynamics has ", count,
        " environments, the planner was made for 1 to ", sizes.environments);
  check(dynamics.action_dim() == sizes.action_dim, name, ": dynamics takes ", dynamics.action_dim(),
        " action numbers a block, the planner was made for ", sizes.action_dim);

  const Shape answer = {count, sizes.horizon, sizes.action_dim};
  check(result.actions.data() != nullptr && result.actions.shape() == answer, name,
        ": actions to fill are ", result.actions.shape(), ", ", answer, " was needed");
  check(!result.cost || result.cost.size(0) == count, name, ": costs to fill are ",
        result.cost.shape(), ", (", count, ") was needed");
  check(!result.std || result.std.shape() == answer, name, ": std to fill is ", result.std.shape(),
        ", ", answer, " was needed");

  const auto& warm = request.warm_start;
  check(!warm || (warm.size(0) == count && warm.size(1) <= sizes.horizon &&
                  warm.size(2) == sizes.action_dim),
        name, ": warm start is ", warm.shape(), ", at most ", answer, " was needed");
  check(request.keys.empty() || static_cast<i64>(request.keys.size()) == count, name, ": ",
        request.keys.size(), " keys for ", count, " environments");
}

}  // namespace orrery
