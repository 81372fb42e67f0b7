#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "models/lewm/config.h"
#include "nn/layers.h"
#include "tensor/tensor.h"

namespace orrery::lewm {

// Views of every tensor of a model, in one block of trained parameters and one of buffers (running
// statistics). The same structure names weights, gradients and optimiser moments. D width, N
// layers' inputs as in config.h.

struct EncoderLayer {
  nn::Norm before;  // before attention
  nn::Dense qkv;  // [3 D, D]: query, key, value one after the other, so that one product serves all
                  // three; linear attention has no bias
  nn::Dense output;  // [D, D]
  nn::Norm after;    // before the MLP
  nn::Dense up;      // [mlp, D]
  nn::Dense down;    // [D, mlp]
};

// An MLP of recorded numbers: z-scored, then linear maps with LayerNorm and GELU between them.
struct VectorEncoder {
  View<float, 1> mean, variance;  // [inputs], of the recording that was learned from; buffers
  std::vector<nn::Dense> layers;  // [hidden, inputs], [hidden, hidden] ..., [D, hidden]
  std::vector<nn::Norm> norms;    // [hidden], one fewer
};

struct Encoder {
  VectorEncoder vector;      // and nothing else, of a model that sees vectors
  View<float, 1> cls;        // [D]
  View<float, 2> meta;       // [meta tokens, D], empty without
  View<float, 2> positions;  // [tokens, D], the first for CLS
  nn::Dense patch;           // [D, 3 * patch^2], inputs ordered channel, row, column
  std::vector<EncoderLayer> layers;
  nn::Norm norm;
};

struct PredictorLayer {
  nn::Norm attention_norm;
  View<float, 2> qkv;  // [3 * inner, D]: q | k | v, each head by head; no bias
  nn::Dense out;       // [D, inner], empty when attention has a single head as wide as the model
  nn::Norm mlp_norm;
  nn::Dense up;          // [mlp, D]
  nn::Dense down;        // [D, mlp]
  nn::Dense modulation;  // [6 D, D]: shift, scale, gate of attention, then of the MLP
};

struct Predictor {
  View<float, 2> positions;  // [window, input]
  nn::Dense input;           // [hidden, input], empty when the widths agree; so are the next two
  nn::Dense condition;       // [hidden, input]
  nn::Dense output;          // [output, hidden]
  std::vector<PredictorLayer> layers;
  nn::Norm norm;
};

struct ActionEncoder {
  nn::Dense smooth;  // [smoothed, input], a convolution of width 1
  nn::Dense up;      // [mlp_scale * output, smoothed], then SiLU
  nn::Dense down;    // [output, mlp_scale * output]
};

struct Head {
  nn::Dense up;                              // [hidden, input]
  nn::Norm norm;                             // [hidden], empty without norm
  nn::Dense down;                            // [output, hidden]
  View<float, 1> running_mean, running_var;  // [hidden], BatchNorm only; buffers
};

struct Tensors {
  Encoder encoder;
  Predictor predictor;
  ActionEncoder action;
  Head projector;
  Head pred_proj;
};

// One tensor as files name it (the released vocabulary) and where its values lie.
struct TensorSpec {
  std::string name;
  Shape shape;
  bool trained;  // in the block of parameters, else in the block of buffers
  i64 offset;    // in floats
};

struct Layout {
  std::vector<TensorSpec> specs;
  i64 parameters = 0;  // floats in the block of parameters: the model's parameter count
  i64 buffers = 0;
};

Layout layout_of(const Config& config);

// Views into two blocks laid out by layout_of. For gradients and moments buffers may be null: those
// views are then empty.
Tensors bind(const Config& config, float* parameters, float* buffers);

// The same for a head that stands alone; without BatchNorm, which would need buffers.
Layout layout_of_head(const std::string& name, const HeadConfig& config);
Head bind_head(const HeadConfig& config, float* parameters);

// A model's values: const after loading, shared between states.
struct Weights {
  Config config;
  Tensor parameters;  // [Layout::parameters]
  Tensor buffers;     // [Layout::buffers]
  i64 batches_tracked = 0;
  Tensors tensors;

  explicit Weights(const Config& config);  // zeros
  Weights(Weights&&) = default;
  Weights& operator=(Weights&&) = default;
};

// From named tensors under either ViT vocabulary (transformers before and from version 5), with or
// without Lightning's "model." prefix. Strict: tensors that are missing, unexpected or of another
// shape are all named in one message. `where` names the file.
Weights weights_from_tensors(const Config& config, const TensorMap& tensors,
                             const std::string& where);

// All tensors with their released names and shapes, BatchNorm counters included.
TensorMap tensors_from_weights(const Weights& weights);

// The released name of a tensor under any accepted vocabulary.
std::string canonical_name(const std::string& name);

// A folder with config.json and one file of weights (weights.safetensors, weights.pt or the only
// .safetensors, .pt, .pth or .ckpt), or a file of weights with config.json beside it.
Weights load_model(const std::filesystem::path& path);

}  // namespace orrery::lewm
