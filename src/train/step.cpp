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

StepReport train_step(Context& ctx, const StepSettings& settings, const lewm::PassMode& mode,
                      const Batch& batch, lewm::Weights& weights, lewm::TrainingState& state,
                      LossState& loss_state, Optimiser& optimiser) {
  lewm::forward(ctx, weights, state, mode, batch.pixels, batch.actions);
  StepReport report;
  report.losses = losses(ctx, settings.losses, state.emb(), state.pred(), loss_state);
  report.finite = std::isfinite(report.losses.total);
  if (!report.finite) return report;

  const View<float, 1> gradient = optimiser.gradient.view<float, 1>();
  fill(ctx, 0.0f, gradient);
  lewm::backward(ctx, weights, state, loss_state.demb(), loss_state.dpred(),
                 lewm::bind(weights.config, gradient.data(), nullptr));
  report.gradient_norm = std::sqrt(sum_of_squares(ctx, gradient));
  report.finite = std::isfinite(report.gradient_norm);
  if (!report.finite) return report;

  // PyTorch's clip_grad_norm_ adds 1e-6 to the norm
  const double factor =
      settings.clip > 0 ? std::min(1.0, settings.clip / (report.gradient_norm + 1e-6)) : 1.0;
  ++optimiser.steps;
  adamw_step(ctx, settings.adamw, optimiser.steps, static_cast<float>(factor), gradient,
             weights.parameters.view<float, 1>(), optimiser.m.view<float, 1>(),
             optimiser.v.view<float, 1>());
  return report;
}

}  // namespace orrery::train
