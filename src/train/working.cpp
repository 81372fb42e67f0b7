#include "train/working.h"

namespace orrery::train {

void Working::settle_on(Context& ctx, const Tensor& host) {
  if (ctx.device() == Device::cpu) return;
  ctx_ = &ctx;
  block_ = Block(ctx, static_cast<std::size_t>(host.byte_count()));
  push(host);
}

View<float, 1> Working::view(Tensor& host) const {
  if (ctx_ == nullptr) return View<float, 1>(host.data<float>(), {host.numel()});
  // the block is this object's as the host's values are their owner's
  auto* there = reinterpret_cast<float*>(const_cast<std::byte*>(block_.data()));
  return View<float, 1>(there, {host.numel()});
}

void Working::push(const Tensor& host) {
  if (ctx_ == nullptr) return;
  ctx_->upload(block_.data(), host.bytes(), block_.bytes());
  ctx_->synchronize();
}

void Working::pull(Tensor& host) const {
  if (ctx_ != nullptr) ctx_->download(host.bytes(), block_.data(), block_.bytes());
}

Tensor Working::copy(const Tensor& host) const {
  Tensor values = host.clone();
  pull(values);
  return values;
}

WorkingWeights::WorkingWeights(Context& ctx, const lewm::Config& config) : host_(config) {
  parameters_.settle_on(ctx, host_.parameters);
  buffers_.settle_on(ctx, host_.buffers);
  tensors_ = lewm::bind(config, parameters().data(), buffers().data());
}

const lewm::Weights& WorkingWeights::read() const {
  if (newer_) {
    parameters_.pull(host_.parameters);
    buffers_.pull(host_.buffers);
    newer_ = false;
  }
  return host_;
}

void WorkingWeights::push() {
  parameters_.push(host_.parameters);
  buffers_.push(host_.buffers);
}

}  // namespace orrery::train
