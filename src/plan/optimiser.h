#pragma once

#include <string>

#include "device/context.h"
#include "tensor/arena.h"
#include "tensor/view.h"

namespace orrery {

// How a gradient becomes a step; names and defaults are PyTorch's, but for lr, which is the
// released planners'.
struct OptimiserConfig {
  enum class Kind { sgd, adam, adamw };
  Kind kind = Kind::sgd;
  double lr = 1.0;
  // Negative: not said, which is 0.01 for adamw and 0 for the others. adamw shrinks the parameters
  // by it, the others add it to the gradient.
  double weight_decay = -1;

  // sgd
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;

  // adam and adamw
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
};

OptimiserConfig::Kind optimiser_from(const std::string& name);  // sgd, adam, adamw

// Takes steps against gradients, with w the weight decay:
//
//   sgd     g += w p;  b = g at the first step, then momentum b + (1 - dampening) g
//           p -= lr (g + momentum b) with nesterov, lr b without
//   adam    g += w p;  then the step of ops/adamw.h without decay
//   adamw   the step of ops/adamw.h
//
// CPU only. steady
class Optimiser {
 public:
  // Error, in the name of `who`, when a number makes no sense.
  Optimiser(const char* who, const OptimiserConfig& config);

  // moments of at most so many parameters
  void lay_out(Arena& arena, i64 size);

  // forgets all steps: the next is the first
  void begin() { steps_ = 0; }
  // gradient is changed; both [n] contiguous, n the same from the first step on
  void step(Context& ctx, View<float, 1> gradient, View<float, 1> parameter);

  const OptimiserConfig& config() const { return config_; }

 private:
  OptimiserConfig config_;
  i64 steps_ = 0;
  View<float, 1> first_;   // sgd's b, adam's m
  View<float, 1> second_;  // adam's v
};

}  // namespace orrery
