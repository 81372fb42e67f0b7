#pragma once

#include <span>
#include <vector>

#include "base/function_ref.h"
#include "plan/planner.h"
#include "tensor/arena.h"

namespace orrery {

// How plans are turned into actions. A block is action_block consecutive raw actions.
struct PlanConfig {
  i64 horizon = 5;           // blocks planned
  i64 receding_horizon = 5;  // blocks carried out before the next plan, 1 to horizon
  i64 action_block = 5;      // environment steps a block
  bool warm_start = true;    // the rest of a plan is where the next one starts
  i64 history_len = 1;       // frames a model looks back on; decides how many past actions are kept
};

// From z-scored to raw actions: raw = a * float(std) + float(mean), in float32, which is the
// arithmetic of the published evaluation. Both empty: actions stay as planned.
struct ActionScale {
  std::vector<double> mean;
  std::vector<double> std;
};

// Acts in several environments by planning again and again: keeps for each a queue of planned
// actions, plans when the queue is empty, carries out the first receding_horizon blocks of the
// plan, and starts the next plan from the rest.
//
// It knows neither model nor environment: when some environments need a plan, the caller is asked
// for their Dynamics, which is the moment to look at the world (encode frames and goals).
//
//   RecedingHorizonPolicy policy(config, environments, raw_dim, scale, planner);
//   policy.act(ctx, [&](std::span<const i64> who) -> Dynamics& { return eyes.observe(who); },
//   actions);
//
// Allocates nothing after construction. exact, given the plans
class RecedingHorizonPolicy {
 public:
  // Whose Dynamics is needed, in rising order; row e of it is environments[e]. Valid until the next
  // call.
  using Observe = FunctionRef<Dynamics&(std::span<const i64> environments)>;

  // `planner` outlives the policy. Error when config, scale and planner do not fit each other.
  RecedingHorizonPolicy(const PlanConfig& config, i64 environments, i64 raw_action_dim,
                        const ActionScale& scale, Planner& planner);

  // One environment step: the next action of every environment, [environments, raw_action_dim]; NaN
  // for a finished one. Returns how many environments were planned for.
  i64 act(Context& ctx, Observe observe, View<float, 2> actions);

  // The environment is over: no more plans, NaN actions, until it is flushed.
  void finish(i64 environment);
  // The environment begins anew: queue, warm start and past actions are forgotten.
  void flush(i64 environment);

  // What was planned last for an environment, z-scored [horizon, action_block * raw_action_dim],
  // and what it was said to cost; zeros before the first plan. For reports and memory of what was
  // imagined.
  View<const float, 2> last_plan(i64 environment) const;
  float last_cost(i64 environment) const;
  i64 plans_made(i64 environment) const;

  // The newest z-scored actions carried out since the flush, oldest first, [count, raw_action_dim]
  // with count at most (history_len - 1) * action_block: what a model with history pairs with its
  // frames.
  View<const float, 2> past_actions(i64 environment) const;

 private:
  // where an environment stands in its plan
  struct Progress {
    i64 next = 0;   // raw action of the plan that comes next
    i64 left = 0;   // raw actions until a new plan is needed
    i64 plans = 0;  // made so far
    i64 past = 0;   // past actions kept
    bool finished = false;
  };

  void lay_out(Arena& arena);
  void replan(Context& ctx, Observe observe, i64 count);
  void remember(i64 environment, View<const float, 1> action);
  Progress& at(i64 environment);
  const Progress& at(i64 environment) const;

  PlanConfig config_;
  i64 raw_dim_;
  std::vector<float> mean_;
  std::vector<float> std_;
  Planner* planner_;

  std::vector<Progress> progress_;
  std::vector<i64> who_;       // environments that replan
  std::vector<PlanKey> keys_;  // the same, as keys
  bool any_plan_ = false;      // before the first plan no warm start exists

  Block memory_;
  View<float, 3> plans_;        // [environments, horizon, block], the last of each
  View<float, 1> costs_;        // [environments]
  View<float, 3> warm_;         // [environments, horizon - receding_horizon, block]
  View<float, 3> warm_of_who_;  // the three below are dense over who_
  View<float, 3> plans_of_who_;
  View<float, 1> costs_of_who_;
  View<float, 3> past_;  // [environments, (history_len - 1) * action_block, raw_dim]
};

}  // namespace orrery
