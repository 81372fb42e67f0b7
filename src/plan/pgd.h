#pragma once

#include "plan/descent.h"

namespace orrery {

struct PgdConfig {
  i64 categories = 2;  // of one raw action; a block is action_dim / categories of them
  i64 samples = 1;
  i64 steps = 30;
  double lr = 1.0;
  double initial_std = 1.0;
  double action_noise = 0.0;
  i64 batch_size = 0;  // environments that descend together, 0: all
  DescentAnswer answer = DescentAnswer::last_step_cost;
};

// Projected gradient descent for discrete actions: as descent.h, with plain steps of lr times the
// gradient, on weights of categories; after every step (and its noise) each raw action's weights
// are projected onto the simplex (simplex.h). The start is not: without a warm start it is zeros.
//
// The dynamics takes weights, action_dim = raw actions of a block * categories; a warm start is
// one_hot() of category numbers, or weights. The answer is one-hot: the largest weight of each raw
// action, of equal ones the first.
class PgdPlanner final : public Descent {
 public:
  PgdPlanner(const PgdConfig& config, const PlanSizes& sizes, Noise& noise);

 protected:
  void settle(View<float, 2> actions) override;
  void finish_answer(View<float, 2> actions) override;

 private:
  i64 categories_;
};

}  // namespace orrery
