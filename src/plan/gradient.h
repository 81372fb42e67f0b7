#pragma once

#include "plan/descent.h"

namespace orrery {

// Gradient descent on actions: many samples at once, each on its own cost; see descent.h. The
// released planner has one sample and sgd with a step of 1; its shipped configuration is adamw with
// 0.1, 30 steps and 100 samples in batches of one environment (stable-worldmodel 0.1.1).
class GradientPlanner final : public Descent {
 public:
  GradientPlanner(const DescentConfig& config, const PlanSizes& sizes, Noise& noise);
};

}  // namespace orrery
