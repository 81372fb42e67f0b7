#pragma once

#include "device/context.h"
#include "device/memory.h"
#include "models/lewm/weights.h"
#include "tensor/tensor.h"
#include "tensor/view.h"

namespace orrery::train {

// The side that operations work on of a tensor that the host keeps for files and examinations: on a
// CPU the tensor itself, on a device a copy there, which the two sides exchange when asked.
class Working {
 public:
  // On a device takes memory for the values of `host` and copies them. The context outlives it.
  void settle_on(Context& ctx, const Tensor& host);

  View<float, 1> view(Tensor& host) const;
  View<const float, 1> view(const Tensor& host) const { return view(const_cast<Tensor&>(host)); }
  void push(const Tensor& host);          // the host's values have changed
  void pull(Tensor& host) const;          // the others have
  Tensor copy(const Tensor& host) const;  // of the newest values, for the host

 private:
  Context* ctx_ = nullptr;  // none: on a CPU
  Block block_;
};

// A model's weights and the side of them that a context trains.
class WorkingWeights {
 public:
  WorkingWeights(Context& ctx, const lewm::Config& config);

  // Where operations work.
  const lewm::Tensors& tensors() const { return tensors_; }
  View<float, 1> parameters() { return parameters_.view(host_.parameters); }
  View<float, 1> buffers() { return buffers_.view(host_.buffers); }
  // says that operations have changed them
  void touch() { newer_ = true; }

  // The host's side, up to date.
  const lewm::Weights& read() const;
  // Changes the host's side by body(weights); operations then work on what it became.
  template <typename Body>
  void write(const Body& body) {
    read();
    body(host_);
    push();
  }
  const lewm::Config& config() const { return host_.config; }
  i64& batches_tracked() { return host_.batches_tracked; }
  i64 batches_tracked() const { return host_.batches_tracked; }

 private:
  void push();

  mutable lewm::Weights host_;
  mutable bool newer_ = false;  // the other side is
  Working parameters_, buffers_;
  lewm::Tensors tensors_;
};

}  // namespace orrery::train
