#include "train/side_optimiser.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ops/adamw.h"
#include "ops/elementwise.h"
#include "ops/strided.h"
#include "train/checkpoint.h"

namespace orrery::train {

SideOptimiser::SideOptimiser(std::string name, double lr, double weight_decay,
                             const Tensor& parameters)
    : name_(std::move(name)),
      lr_(lr),
      weight_decay_(weight_decay),
      gradient_(Tensor::zeros<float>(parameters.shape())),
      m_(Tensor::zeros<float>(parameters.shape())),
      v_(Tensor::zeros<float>(parameters.shape())) {}

void SideOptimiser::settle_on(Context& ctx) {
  working_gradient_.settle_on(ctx, gradient_);
  working_m_.settle_on(ctx, m_);
  working_v_.settle_on(ctx, v_);
}

void SideOptimiser::begin() {
  m_ = Tensor::zeros<float>(m_.shape());
  v_ = Tensor::zeros<float>(v_.shape());
  working_m_.push(m_);
  working_v_.push(v_);
  steps_ = 0;
}

void SideOptimiser::begin_step(Context& ctx) { fill(ctx, 0.0f, gradient()); }

void SideOptimiser::end_step(Context& ctx, const LearningStep& step, View<float, 1> parameters) {
  if (step.share.sums != nullptr) step.share.sums->add_up(gradient());
  const double share = 1.0 / static_cast<double>(std::max<i64>(1, step.batches));
  const double norm = share * std::sqrt(sum_of_squares(ctx, gradient()));
  if (!std::isfinite(norm)) return;
  const double clipped = step.clip > 0 ? std::min(1.0, step.clip / (norm + 1e-6)) : 1.0;
  ++steps_;
  const AdamW adamw{.lr = static_cast<float>(lr_ * step.schedule),
                    .weight_decay = static_cast<float>(weight_decay_)};
  adamw_step(ctx, adamw, {}, steps_, static_cast<float>(share * clipped), gradient(), parameters,
             working_m_.view(m_), working_v_.view(v_));
}

void SideOptimiser::add_contents(TensorMap& contents) const {
  contents.emplace(name_ + ".m", working_m_.copy(m_));
  contents.emplace(name_ + ".v", working_v_.copy(v_));
  contents.emplace(name_ + ".steps", tensor_of_count(steps_));
}

void SideOptimiser::restore(const TensorMap& contents, const std::string& where) {
  restore_tensor(contents, name_ + ".m", where, m_);
  restore_tensor(contents, name_ + ".v", where, v_);
  working_m_.push(m_);
  working_v_.push(v_);
  steps_ = count_from(contents, name_ + ".steps", where);
}

}  // namespace orrery::train
