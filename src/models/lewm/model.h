#pragma once

#include <memory>

#include "models/lewm/weights.h"
#include "ops/gemm.h"

namespace orrery::lewm {

// Weights arranged for inference: matrices packed for this CPU, BatchNorm folded into the layer
// before it. Const after construction and shared by any number of states.

struct PackedDense {
  PackedMatrix weight;
  View<const float, 1> bias;  // empty when the layer has none
  explicit operator bool() const { return static_cast<bool>(weight); }
};

struct PackedHead {
  PackedDense up, down;
  Tensor folded_bias;                         // of `up`, when a BatchNorm was folded
  View<const float, 1> norm_gain, norm_bias;  // LayerNorm only
  Activation activation = Activation::gelu;
  explicit operator bool() const { return static_cast<bool>(up); }
};

class Model {
 public:
  Model(Context& ctx, Weights weights);

  const Config& config() const { return weights_.config; }
  const Weights& weights() const { return weights_; }

  struct EncoderBlock {
    PackedDense qkv, output, up, down;
  };
  struct PredictorBlock {
    PackedDense qkv, out, up, down, modulation;
  };
  PackedDense patch;
  std::vector<EncoderBlock> encoder;
  PackedDense smooth, action_up, action_down;
  PackedDense input, condition, output;
  std::vector<PredictorBlock> predictor;
  PackedHead projector, pred_proj;

 private:
  Weights weights_;
};

}  // namespace orrery::lewm
