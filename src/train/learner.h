#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tensor/tensor.h"
#include "train/batches.h"
#include "train/device_step.h"
#include "train/settings.h"
#include "train/step.h"
#include "train/validation.h"

namespace orrery::train {

// What learns: weights, optimiser, and the memory of a pass and of the losses, taken once. The
// numbers that a step draws are functions of (seed, step), so there is no generator to save.
//
// With a context of a CUDA device all of it lives there, and a step is captured work
// (device_step.h); weights and moments come back when somebody reads them. What it saves is the
// same, so a run may begin on one device and go on on another.
class Learner {
 public:
  // settings must be settled, and their steps resolved: not 0. Each rank learns from its part of
  // every batch, and all call step, validate, spread and take_from_rank_0 together.
  Learner(Context& ctx, const lewm::Config& model, const TrainingSettings& settings, Ranks& ranks);

  // weights from the seed (and, when scaled, the mean colour of the source's first batch)
  void begin(BatchSource& source);
  // the weights of a file instead, and on demand the moments and steps of a Lightning checkpoint
  void begin_with(const std::filesystem::path& file, bool with_optimiser);
  // Encoder and projector of a model, whatever its other parts.
  void begin_encoder_with(const lewm::Weights& model, const std::string& where);
  // One optimiser step over `accumulate` batches of the source.
  StepReport step(BatchSource& source);
  // With `settle_batches`: shows them to the weights at rest, for running statistics of their own.
  // Training itself goes on with the old ones. Once a step; all ranks together.
  void settle(BatchSource& source);
  // Of the weights that judged() gives.
  ValidationReport validate(BatchSource& source);
  // mean standard deviation and effective rank of the latents of the last batch of the last step
  LatentSpread spread() const;

  i64 steps() const { return optimiser_.steps; }
  // activations and scratch of a pass, planned once
  std::size_t activation_bytes() const { return state_.bytes(); }
  // on a device all that lies there, with both places of the pixels, but for scratch of single
  // operations; else 0
  std::size_t device_bytes() const;
  // On a device: captured work, as it is anyway, or each operation asked for by itself.
  void capture_from_now_on(bool wanted) {
    if (device_step_) device_step_->capture_from_now_on(wanted);
  }
  double next_learning_rate() const;
  // as settled at this step, or as they are
  const lewm::Weights& weights() const { return weights_.current(optimiser_.steps).read(); }
  i64 batches_tracked() const { return weights_.moving.batches_tracked(); }
  // the moving average of the weights, and of their running statistics; null without one
  const lewm::Weights* average() const {
    return average_ ? &average_->current(optimiser_.steps).read() : nullptr;
  }
  // what stands for the run: the average where there is one
  const lewm::Weights& judged() const { return average_ ? *average() : weights(); }

  // Everything that the next steps depend on, for a checkpoint. `where` names its file in errors.
  TensorMap contents() const;
  void restore(const TensorMap& contents, const std::string& where);
  // All ranks get what rank 0 holds.
  void take_from_rank_0();
  // Error that names a rank whose weights have come to differ from rank 0's.
  void must_agree() const;

 private:
  // weights that learn, and a copy with the statistics of a step
  struct Settling {
    WorkingWeights moving;
    std::optional<WorkingWeights> settled;
    i64 step = -1;

    Settling(Context& ctx, const lewm::Config& model) : moving(ctx, model) {}
    const WorkingWeights& current(i64 now) const { return step == now ? *settled : moving; }
  };
  void begin_average();
  StepReport step_on_host(BatchSource& source);
  StepReport step_on_device(BatchSource& source);
  void move_average();
  void settle(BatchSource& source, Settling& weights);
  double learning_rate(double base) const;

  Context& ctx_;
  const TrainingSettings& settings_;
  Ranks& ranks_;
  BatchShare share_;
  std::vector<AdamWGroup> groups_;
  Settling weights_;
  std::optional<Settling> average_;
  Optimiser optimiser_;
  Working gradient_, m_, v_;
  lewm::TrainingState state_;
  LossState losses_;
  Feeder feeder_;
  std::optional<DeviceStep> device_step_;
};

}  // namespace orrery::train
