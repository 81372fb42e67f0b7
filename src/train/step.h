#pragma once

#include "models/lewm/training.h"
#include "ops/adamw.h"
#include "train/losses.h"

namespace orrery::train {

// Gradient and AdamW's moments, each a block with the layout of the parameters.
struct Optimiser {
  Tensor gradient, m, v;
  i64 steps = 0;  // taken so far

  explicit Optimiser(const lewm::Weights& weights);
};

struct StepSettings {
  LossSettings losses;
  AdamW adamw;
  double clip = 1.0;  // largest norm of the whole gradient; 0: not clipped
};

// One batch: pixels [B, T, H, W, 3], actions [B, T, A] z-scored.
struct Batch {
  View<const u8, 5> pixels;
  View<const float, 3> actions;
};

struct StepReport {
  LossValues losses;
  double gradient_norm = 0;  // before clipping
  bool finite = true;
};

// Forward, losses, backward, clipping by min(1, clip / (norm + 1e-6)), AdamW. The directions of
// `losses` must be drawn. When the loss or the gradient's norm is not finite, the weights and
// moments stay as they were (running statistics do not) and `finite` is false. steady
StepReport train_step(Context& ctx, const StepSettings& settings, const lewm::PassMode& mode,
                      const Batch& batch, lewm::Weights& weights, lewm::TrainingState& state,
                      LossState& losses, Optimiser& optimiser);

}  // namespace orrery::train
