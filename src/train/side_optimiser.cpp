#include "train/side_optimiser.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ops/elementwise.h"
#include "ops/gradient_clip.h"
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
      v_(Tensor::zeros<float>(parameters.shape())) {
  Arena measure;
  lay_out(measure);
  here_ = Block(measure.used());
  Arena here(here_);
  lay_out(here);
  host_stretch_ = stretch_;
  host_clipped_ = clipped_;
}

void SideOptimiser::lay_out(Arena& arena) {
  stretch_ = arena.take<AdamWStretch, 1>({1});
  clipped_ = arena.take<double, 1>({2});
}

void SideOptimiser::settle_on(Context& ctx) {
  working_gradient_.settle_on(ctx, gradient_);
  working_m_.settle_on(ctx, m_);
  working_v_.settle_on(ctx, v_);
  if (ctx.device() == Device::cpu) return;
  here_ = Block::staging(ctx, here_.bytes());
  there_ = Block(ctx, here_.bytes());
  Arena here(here_);
  lay_out(here);
  host_stretch_ = stretch_;
  host_clipped_ = clipped_;
  Arena there(there_);
  lay_out(there);
}

void SideOptimiser::begin() {
  m_ = Tensor::zeros<float>(m_.shape());
  v_ = Tensor::zeros<float>(v_.shape());
  working_m_.push(m_);
  working_v_.push(v_);
  steps_ = 0;
}

void SideOptimiser::prepare_step(const LearningStep& step) {
  step_ = step;
  const AdamW adamw{.lr = static_cast<float>(lr_ * step.schedule),
                    .weight_decay = static_cast<float>(weight_decay_)};
  host_stretch_[0] = adamw_stretches(adamw, {}, steps_ + 1, gradient_.numel())[0];
}

void SideOptimiser::begin_step(Context& ctx) { fill(ctx, 0.0f, gradient()); }

void SideOptimiser::learn(Context& ctx, View<const double, 1> well, View<float, 1> parameters) {
  if (step_.share.sums != nullptr) step_.share.sums->add_up(gradient());
  const bool apart = there_.bytes() > 0;
  if (apart) ctx.upload(stretch_.data(), host_stretch_.data(), sizeof(AdamWStretch));
  gradient_clip(ctx, gradient(), 1.0 / static_cast<double>(std::max<i64>(1, step_.batches)),
                step_.clip, well, clipped_);
  adamw_step(ctx, stretch_, clipped_, gradient(), parameters, working_m_.view(m_),
             working_v_.view(v_));
  if (apart) ctx.download(host_clipped_.data(), clipped_.data(), 2 * sizeof(double));
}

void SideOptimiser::end_step() {
  if (std::isfinite(host_clipped_[1])) ++steps_;
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
