#pragma once

#include <memory>

#include "models/lewm/weights.h"
#include "ops/gemm.h"
#include "ops/precision.h"

namespace orrery::lewm {

// Weights arranged for inference where a context's operations run: matrices packed for its kernels,
// BatchNorm folded into the layer before it. Const after construction and shared by any number of
// states.

struct PackedDense {
  PackedMatrix weight;
  View<const float, 1> bias;  // empty when the layer has none
  explicit operator bool() const { return static_cast<bool>(weight); }
};

struct PackedHead {
  PackedDense up, down;
  Block folded_bias;                          // of `up`, when a BatchNorm was folded
  View<const float, 1> norm_gain, norm_bias;  // LayerNorm only
  Activation activation = Activation::gelu;
  explicit operator bool() const { return static_cast<bool>(up); }
};

class Model {
 public:
  // precision: of the products. The encoder's blocks take it as it is. The predictor and the heads
  // know f32, tf32 and bf16: int8 and fp8 stand for bf16 there, because a plan goes through them
  // again and again and their errors add up. Maps of a few inputs (the actions') stay f32: rounding
  // the actions themselves would be the largest error of all, and nothing is saved.
  // A CPU context knows f32 only. A hybrid encoder on a CUDA device is an Error: linear attention
  // is the CPU's.
  Model(Context& ctx, Weights weights, Precision precision = Precision::f32);

  const Config& config() const { return weights_.config; }
  // the host's
  const Weights& weights() const { return weights_; }
  // the same where the context's operations run, without buffers; on the CPU the host's themselves
  const Tensors& tensors() const { return tensors_; }
  Precision precision() const { return precision_; }
  // whether activations between products are bf16, else f32. The residual streams, modulations and
  // latents are f32 always.
  bool narrow() const { return precision_ != Precision::f32 && precision_ != Precision::tf32; }
  // the same of the predictor; without an output map attention's result is added as it is, in f32
  bool narrow_predictor() const { return narrow() && config().predictor.projects_attention(); }

  struct EncoderBlock {
    PackedDense qkv, output, up, down;
  };
  struct PredictorBlock {
    PackedDense qkv, out, up, down, modulation;
  };
  PackedDense patch;
  PackedDense byte_patch;  // the same for bytes instead of normalised values; of a narrow model
  std::vector<EncoderBlock> encoder;
  PackedDense smooth, action_up, action_down;
  PackedDense input, condition, output;
  std::vector<PredictorBlock> predictor;
  PackedHead projector, pred_proj;

 private:
  void fold_byte_patch(Context& ctx);
  PackedDense packed(Context& ctx, const nn::Dense& host, const nn::Dense& resident,
                     Precision precision) const;
  PackedHead packed(Context& ctx, const HeadConfig& config, const Head& host, const Head& resident,
                    Precision precision) const;

  Weights weights_;
  Precision precision_;
  Block resident_;         // the parameters on a CUDA device
  Block byte_patch_bias_;  // likewise
  Tensors tensors_;
};

}  // namespace orrery::lewm
