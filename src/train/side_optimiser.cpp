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

void SideOptimiser::begin() {
  m_ = Tensor::zeros<float>(m_.shape());
  v_ = Tensor::zeros<float>(v_.shape());
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
             m_.view<float, 1>(), v_.view<float, 1>());
}

void SideOptimiser::add_contents(TensorMap& contents) const {
  contents.emplace(name_ + ".m", m_.clone());
  contents.emplace(name_ + ".v", v_.clone());
  contents.emplace(name_ + ".steps", tensor_of_count(steps_));
}

void SideOptimiser::restore(const TensorMap& contents, const std::string& where) {
  restore_tensor(contents, name_ + ".m", where, m_);
  restore_tensor(contents, name_ + ".v", where, v_);
  steps_ = count_from(contents, name_ + ".steps", where);
}

}  // namespace orrery::train
