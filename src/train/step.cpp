#include "train/step.h"

#include <algorithm>
#include <cmath>

#include "ops/elementwise.h"
#include "ops/strided.h"

namespace orrery::train {

Optimiser::Optimiser(const lewm::Weights& weights)
    : gradient(Tensor::zeros<float>(weights.parameters.shape())),
      m(Tensor::zeros<float>(weights.parameters.shape())),
      v(Tensor::zeros<float>(weights.parameters.shape())) {}

void forward(Context& ctx, lewm::Weights& weights, lewm::TrainingState& state,
             const lewm::PassMode& mode, const Batch& batch) {
  forward(ctx, weights.config, weights.tensors, state, mode, batch);
  if (mode.training) ++weights.batches_tracked;
}

void forward(Context& ctx, const lewm::Config& config, const lewm::Tensors& tensors,
             lewm::TrainingState& state, const lewm::PassMode& mode, const Batch& batch) {
  if (batch.latents) {
    lewm::forward_from_latents(ctx, config, tensors, state, mode, batch.latents, batch.actions);
  } else {
    lewm::forward(ctx, config, tensors, state, mode, batch.pixels, batch.actions,
                  batch.observations);
  }
}

void begin_gradient(Context& ctx, Optimiser& optimiser) {
  fill(ctx, 0.0f, optimiser.gradient.view<float, 1>());
}

void add_gradient(Context& ctx, const StepSettings& settings, const lewm::PassMode& mode,
                  const Batch& batch, lewm::Weights& weights, lewm::TrainingState& state,
                  LossState& loss_state, Optimiser& optimiser, StepReport& report) {
  forward(ctx, weights, state, mode, batch);
  const LossInputs in = {.emb = state.emb(),
                         .pred = state.pred(),
                         .rolled = state.rolled(),
                         .actions = batch.actions,
                         .observations = batch.observations,
                         .share = mode.share};
  const LossValues values = losses(ctx, settings.losses, in, loss_state);
  ++report.batches;
  add_to_mean(report.losses, values, report.batches);
  report.finite = report.finite && std::isfinite(values.total);
  if (!report.finite) return;
  lewm::backward(ctx, weights, state, loss_state.gradient(),
                 lewm::bind(weights.config, optimiser.gradient.data<float>(), nullptr));
}

void update(Context& ctx, const StepSettings& settings, lewm::Weights& weights,
            Optimiser& optimiser, StepReport& report, BatchSums* sums) {
  const View<float, 1> gradient = optimiser.gradient.view<float, 1>();
  if (sums != nullptr) sums->add_up(gradient);
  const double share = 1.0 / static_cast<double>(std::max<i64>(1, report.batches));
  report.gradient_norm = share * std::sqrt(sum_of_squares(ctx, gradient));
  report.finite = std::isfinite(report.gradient_norm);
  if (!report.finite) return;

  // PyTorch's clip_grad_norm_ adds 1e-6 to the norm
  const double clipped =
      settings.clip > 0 ? std::min(1.0, settings.clip / (report.gradient_norm + 1e-6)) : 1.0;
  ++optimiser.steps;
  adamw_step(ctx, settings.adamw, settings.groups, optimiser.steps,
             static_cast<float>(share * clipped), gradient, weights.parameters.view<float, 1>(),
             optimiser.m.view<float, 1>(), optimiser.v.view<float, 1>());
}

StepReport train_step(Context& ctx, const StepSettings& settings, const lewm::PassMode& mode,
                      const Batch& batch, lewm::Weights& weights, lewm::TrainingState& state,
                      LossState& loss_state, Optimiser& optimiser) {
  StepReport report;
  begin_gradient(ctx, optimiser);
  add_gradient(ctx, settings, mode, batch, weights, state, loss_state, optimiser, report);
  if (report.finite) update(ctx, settings, weights, optimiser, report, mode.share.sums);
  return report;
}

}  // namespace orrery::train
