#pragma once

#include <vector>

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
  std::vector<AdamWGroup> groups;  // none: all parameters alike
  double clip = 1.0;               // largest norm of the whole gradient; 0: not clipped
};

struct Batch {
  View<const u8, 5> pixels;           // [B, T, H, W, 3]
  View<const float, 3> actions;       // [B, T, A] z-scored
  View<const float, 3> observations;  // [B, T, N] as recorded, empty where no loss asks for them
  View<const float, 3> latents;       // [B, T, D] in place of pixels, where dynamics alone learn
  bool locked = false;                // all of it lies in page-locked memory (Block::staging)
};

// The pass of the model over a batch, from what it holds.
void forward(Context& ctx, lewm::Weights& weights, lewm::TrainingState& state,
             const lewm::PassMode& mode, const Batch& batch);
// The same for tensors that somebody else keeps; counts no batch.
void forward(Context& ctx, const lewm::Config& config, const lewm::Tensors& tensors,
             lewm::TrainingState& state, const lewm::PassMode& mode, const Batch& batch);

struct StepReport {
  LossValues losses;         // mean over the batches of the step
  double gradient_norm = 0;  // before clipping
  i64 batches = 0;           // whose gradients were added
  bool finite = true;
};

// The three parts of an optimiser step, called in this order.
//
// Gradient and report of a step begin at zero.
void begin_gradient(Context& ctx, Optimiser& optimiser);

// Forward, losses and backward of one batch, or the part of it that mode.share tells, whose
// gradient and the batch's losses are added. The directions of `losses` must be drawn. A loss that
// is not finite makes `finite` false and adds no gradient. steady
void add_gradient(Context& ctx, const StepSettings& settings, const lewm::PassMode& mode,
                  const Batch& batch, lewm::Weights& weights, lewm::TrainingState& state,
                  LossState& losses, Optimiser& optimiser, StepReport& report);

// The mean of the gradients that were added, clipped by min(1, clip / (norm + 1e-6)), then AdamW.
// When its norm is not finite, weights and moments stay as they were (running statistics do not)
// and `finite` is false. `sums`, when given, first adds up the gradients of all processes that had
// parts of the batches. steady
void update(Context& ctx, const StepSettings& settings, lewm::Weights& weights,
            Optimiser& optimiser, StepReport& report, BatchSums* sums = nullptr);

// All three for a single batch.
StepReport train_step(Context& ctx, const StepSettings& settings, const lewm::PassMode& mode,
                      const Batch& batch, lewm::Weights& weights, lewm::TrainingState& state,
                      LossState& losses, Optimiser& optimiser);

}  // namespace orrery::train
