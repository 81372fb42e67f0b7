#pragma once

#include <string>

#include "device/context.h"
#include "ops/adamw.h"
#include "tensor/arena.h"
#include "tensor/tensor.h"
#include "train/batch_loss.h"
#include "train/working.h"

namespace orrery::train {

// AdamW of a block of parameters that a loss learns beside the model: its gradient, moments and
// steps, and how they are kept in a checkpoint as <name>.m, .v and .steps. A step is the calls of
// BatchLoss by the same names; begin_step and learn may be captured work.
class SideOptimiser {
 public:
  SideOptimiser(std::string name, double lr, double weight_decay, const Tensor& parameters);

  void settle_on(Context& ctx);  // where the optimiser works from now on
  void begin();                  // as before the first step
  void prepare_step(const LearningStep& step);
  void begin_step(Context& ctx);  // no gradient yet
  // The mean of the gradients that were added, clipped; parameters and moments stay as they are
  // when its norm is not finite, or `well` (none: it is) is not. steady
  void learn(Context& ctx, View<const double, 1> well, View<float, 1> parameters);
  // counts the step, unless it was not finite
  void end_step();

  // where the context works
  View<float, 1> gradient() { return working_gradient_.view(gradient_); }
  View<const float, 1> gradient() const { return working_gradient_.view(gradient_); }

  void add_contents(TensorMap& contents) const;
  void restore(const TensorMap& contents, const std::string& where);

 private:
  void lay_out(Arena& arena);

  std::string name_;
  double lr_, weight_decay_;  // lr at the top of the schedule
  Tensor gradient_, m_, v_;
  Working working_gradient_, working_m_, working_v_;
  i64 steps_ = 0;

  // a step's numbers: where the context works, and on the host, page-locked for a device
  LearningStep step_;
  Block there_, here_;
  View<AdamWStretch, 1> stretch_, host_stretch_;  // [1]
  View<double, 1> clipped_, host_clipped_;        // [2]: norm and factor
};

}  // namespace orrery::train
