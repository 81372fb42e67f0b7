#pragma once

#include "plan/dynamics.h"

namespace orrery {

// A Dynamics that also tells how its costs change with the actions, for planners that descend; and,
// where plans have to keep to limits, by how much they break them.
//
// Everything lies where the context's operations run, contiguous; the calls allocate nothing.
class DifferentiableDynamics : public Dynamics {
 public:
  // numbers g of a candidate that should not be above 0; environments have equally many
  virtual i64 constraints() const { return 0; }

  // values[e, s, i] = g_i of the actions [e, s, :, :], not above 0 where the limit is kept. Called
  // only when there are constraints.
  //
  //   actions   [group, samples, horizon, action_dim]
  //   values    [group, samples, constraints()]
  virtual void constrain(Context& ctx, i64 first_environment, View<const float, 4> actions,
                         View<float, 3> values);

  // cost as of rollout_cost, and for each candidate by itself
  //
  //   gradient[e, s, :, :] = d (cost[e, s] + sum_i weights[e, s, i] g_i) / d actions[e, s, :, :]
  //
  //   weights    [group, samples, constraints()], or empty: 0
  //   gradient   [group, samples, horizon, action_dim]
  //
  // A gradient that is not finite means that the candidate cannot be improved from where it is.
  virtual void rollout_cost_gradient(Context& ctx, i64 first_environment,
                                     View<const float, 4> actions, View<const float, 3> weights,
                                     View<float, 2> cost, View<float, 4> gradient) = 0;
};

inline void DifferentiableDynamics::constrain(Context&, i64, View<const float, 4>,
                                              View<float, 3> values) {
  check(values.numel() == 0, "constraints: ", values.shape(), " were asked for, there are none");
}

}  // namespace orrery
