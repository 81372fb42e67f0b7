#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// What a planner sees of the world: what would these actions cost? A model, a simulator and a
// test's point mass all play this role; planners know nothing else, and nothing here knows them.
//
// A Dynamics is one planning problem: it stands for `environments()` worlds, each with its own
// present and its own goal, already observed (frames encoded, goal encoded) before a planner is
// called. Whatever many candidates share, latents of the present and the goal, modulations,
// buffers, belongs to the implementation, made before planning begins: the calls below allocate
// nothing.
//
// Environments are planned in groups of consecutive ones. A call names the first of its group, so
// an implementation finds start and goal of row e at first_environment + e, and may send the whole
// group, environments x samples, in one launch.
//
// T is float; double exists for references.
template <typename T>
class BasicDynamics {
 public:
  virtual ~BasicDynamics() = default;

  // worlds that are planned for
  virtual i64 environments() const = 0;

  // numbers of one block of actions: raw action numbers x environment steps a block, in the scale
  // the model was trained on (z-scored)
  virtual i64 action_dim() const = 0;

  // cost[e, s] = how far environment first_environment + e is from its goal after the actions [e,
  // s, :, :], or however else the implementation judges them. Lower is better; NaN means unusable
  // and is never preferred to a number.
  //
  //   actions   [group, samples, horizon, action_dim], contiguous; at least one of each
  //   cost      [group, samples], contiguous
  //
  // The cost of a candidate must not depend on the other candidates of the call.
  virtual void rollout_cost(Context& ctx, i64 first_environment, View<const T, 4> actions,
                            View<T, 2> cost) = 0;

  // Actions to start from where the caller gave none: the blocks that follow the prefix. The tail
  // comes as zeros, which is the mean action, and stays so unless the model can do better.
  //
  //   prefix   [group, given, action_dim], given >= 0
  //   tail     [group, horizon - given, action_dim], not contiguous
  virtual void propose(Context& ctx, i64 first_environment, View<const T, 3> prefix,
                       View<T, 3> tail) {
    static_cast<void>(ctx);
    static_cast<void>(first_environment);
    static_cast<void>(prefix);
    static_cast<void>(tail);
  }
};

using Dynamics = BasicDynamics<float>;

}  // namespace orrery
