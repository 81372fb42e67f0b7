#pragma once

#include <string>

#include "device/context.h"
#include "tensor/tensor.h"
#include "train/batch_loss.h"
#include "train/working.h"

namespace orrery::train {

// AdamW of a block of parameters that a loss learns beside the model: its gradient, moments and
// steps, and how they are kept in a checkpoint as <name>.m, .v and .steps.
class SideOptimiser {
 public:
  SideOptimiser(std::string name, double lr, double weight_decay, const Tensor& parameters);

  void settle_on(Context& ctx);   // where the optimiser works from now on
  void begin();                   // as before the first step
  void begin_step(Context& ctx);  // no gradient yet
  // The mean of the gradients that were added, clipped; none is taken when it is not finite. steady
  void end_step(Context& ctx, const LearningStep& step, View<float, 1> parameters);

  // where the context works
  View<float, 1> gradient() { return working_gradient_.view(gradient_); }
  View<const float, 1> gradient() const { return working_gradient_.view(gradient_); }

  void add_contents(TensorMap& contents) const;
  void restore(const TensorMap& contents, const std::string& where);

 private:
  std::string name_;
  double lr_, weight_decay_;  // lr at the top of the schedule
  Tensor gradient_, m_, v_;
  Working working_gradient_, working_m_, working_v_;
  i64 steps_ = 0;
};

}  // namespace orrery::train
