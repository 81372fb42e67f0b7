#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/types.h"
#include "ops/activation.h"
#include "tensor/shape.h"

namespace orrery::lewm {

// Sizes of a LeWM (Maes et al., "LeWorldModel", arXiv:2603.19312), as its config.json tells them.
// The defaults are the published PushT model: 18,034,478 parameters.

// transformers' ViT without pooler: pre-norm, exact GELU, query/key/value with bias. Or its hybrid
// with linear attention (the published "ALAL" models): tokens are [CLS, meta tokens, patches], and
// layers whose letter is L have ops/linear_attention.h in place of softmax attention, their query,
// key and value without bias.
//
// Or no vision at all: an MLP of recorded numbers, EncoderConfig::vector. Then there are no patches
// and layers, image_size is 0 and hidden the MLP's outputs.
struct VectorEncoderConfig {
  i64 inputs = 0;  // numbers of an observation; 0: pictures are seen
  i64 hidden = 512;
  i64 depth = 3;                       // linear maps, the last of them to the latent
  std::string column = "observation";  // of a recording
};

struct EncoderConfig {
  i64 image_size = 224;
  i64 patch = 14;
  i64 hidden = 192;
  i64 layers = 12;
  i64 heads = 3;
  i64 mlp = 768;
  float norm_eps = 1e-12f;
  std::string pattern = "";  // of A and L, repeated over the layers; empty: A everywhere
  i64 meta_tokens = 0;
  VectorEncoderConfig vector = {};

  bool of_vectors() const { return vector.inputs > 0; }
  bool hybrid() const { return !pattern.empty(); }
  bool linear(i64 layer) const {
    return hybrid() && pattern[static_cast<std::size_t>(layer) % pattern.size()] == 'L';
  }
  // tokens before the patches, and all of the training image
  i64 leading() const { return 1 + meta_tokens; }
  i64 tokens() const { return leading() + grid() * grid(); }
  i64 head_dim() const { return hidden / heads; }
  i64 grid() const { return image_size / patch; }  // patches along a side of the training image
  i64 patch_inputs() const { return 3 * patch * patch; }
};

// conditional blocks with AdaLN-zero modulation and causal attention over a window of frames
struct PredictorConfig {
  i64 window = 3;  // num_frames
  i64 input = 192;
  i64 hidden = 192;
  i64 output = 192;
  i64 depth = 6;
  i64 heads = 16;
  i64 head_dim = 64;
  i64 mlp = 2048;
  float dropout = 0.1f;
  float embedding_dropout = 0.0f;

  i64 inner() const { return heads * head_dim; }
  // attention ends in a projection unless it has a single head as wide as the model
  bool projects_attention() const { return !(heads == 1 && head_dim == hidden); }
};

struct ActionEncoderConfig {
  i64 input = 10;     // frameskip * raw action width
  i64 smoothed = 10;  // width after the first map
  i64 output = 192;
  i64 mlp_scale = 4;
};

// projector and pred_proj: Linear, norm, activation, Linear; or nothing at all
struct HeadConfig {
  enum class Norm { batch, layer, none };
  bool present = true;
  i64 input = 192;
  i64 hidden = 2048;
  i64 output = 192;
  Norm norm = Norm::batch;
  Activation activation = Activation::gelu;
};

struct Config {
  EncoderConfig encoder;
  PredictorConfig predictor;
  ActionEncoderConfig action;
  HeadConfig projector;
  HeadConfig pred_proj;

  i64 latent() const { return projector.present ? projector.output : encoder.hidden; }
};

// Makes an encoder's other sizes those of an encoder of vectors with so many outputs.
void make_vector_encoder(EncoderConfig& encoder, i64 outputs);

// What a file of weights tells that a configuration may leave out.
struct TensorShapes {
  virtual ~TensorShapes() = default;
  // of the tensor with this released name; rank 0 when there is none
  virtual Shape shape(const std::string& name) const = 0;
};

// From config.json, in the form with `_target_` nodes or the older flat form (which implies
// BatchNorm in the heads). Unknown keys are ignored; a value that would change the arithmetic in a
// way not supported is an error, and so are sizes that do not fit each other. `where` names the
// file in messages.
//
// A third form is that of the slim and hybrid models' converter (`encoder_type`, `latent_dim`): it
// says nothing of the heads' hidden width (2048 unless the shapes tell), of the pattern (ALAL), nor
// of the predictor's window (3), and its picture and patch are always 224 and 14: shapes overrule
// them.
//
// In place of `encoder` and `projector` there may be `observation_encoder`: {"kind": "vector_mlp",
// "column", "input_dim", "hidden_dim", "depth", "output_dim"}.
Config config_from_json(const nlohmann::json& root, const std::string& where,
                        const TensorShapes* shapes = nullptr);
Config read_config(const std::filesystem::path& path);

// The form with `_target_` nodes, which the official loader instantiates.
nlohmann::json json_from_config(const Config& config);

}  // namespace orrery::lewm
