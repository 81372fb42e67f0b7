#include "models/lewm/weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <utility>

#include "base/error.h"
#include "io/json.h"
#include "io/tensors.h"

namespace orrery::lewm {

namespace {

// what observations are z-scored by; files from elsewhere have none, and observations that are
// scaled already
constexpr const char* kVectorMean = "observation_encoder.input.running_mean";
constexpr const char* kVectorVariance = "observation_encoder.input.running_var";

bool may_be_missing(const std::string& name) {
  return name == kVectorMean || name == kVectorVariance;
}

// Walks through a model's tensors in the order of the blocks. One walk serves naming, sizing and
// binding, so they cannot disagree.
class Walk {
 public:
  Walk(float* parameters, float* buffers) : parameters_(parameters), buffers_(buffers) {}

  View<float, 1> vector(const std::string& name, i64 size, Shape shape = {}) {
    return View<float, 1>(take(name, shape.rank() == 0 ? Shape{size} : shape, true), {size});
  }
  View<float, 2> matrix(const std::string& name, i64 rows, i64 cols, Shape shape = {}) {
    return View<float, 2>(take(name, shape.rank() == 0 ? Shape{rows, cols} : shape, true),
                          {rows, cols});
  }
  View<float, 1> buffer(const std::string& name, i64 size) {
    return View<float, 1>(take(name, {size}, false), {size});
  }
  nn::Dense dense(const std::string& name, i64 outputs, i64 inputs, Shape weight_shape = {}) {
    nn::Dense layer;
    layer.weight = matrix(name + ".weight", outputs, inputs, weight_shape);
    layer.bias = vector(name + ".bias", outputs);
    return layer;
  }
  nn::Norm norm(const std::string& name, i64 size) {
    nn::Norm layer;
    layer.weight = vector(name + ".weight", size);
    layer.bias = vector(name + ".bias", size);
    return layer;
  }
  // layers whose weights lie one after the other, then their biases: one matrix
  nn::Dense joined(const std::array<std::string, 3>& names, i64 outputs, i64 inputs, bool bias) {
    std::array<View<float, 2>, 3> weights;
    std::array<View<float, 1>, 3> biases;
    for (std::size_t i = 0; i < 3; ++i) weights[i] = matrix(names[i] + ".weight", outputs, inputs);
    if (!bias) return {View<float, 2>(weights[0].data(), {3 * outputs, inputs}), {}};
    for (std::size_t i = 0; i < 3; ++i) biases[i] = vector(names[i] + ".bias", outputs);
    return {View<float, 2>(weights[0].data(), {3 * outputs, inputs}),
            View<float, 1>(biases[0].data(), {3 * outputs})};
  }

  Layout layout;

 private:
  float* take(const std::string& name, const Shape& shape, bool trained) {
    i64& used = trained ? layout.parameters : layout.buffers;
    float* base = trained ? parameters_ : buffers_;
    layout.specs.push_back({name, shape, trained, used});
    float* values = base == nullptr ? nullptr : base + used;
    used += shape.numel();
    return values;
  }

  float* parameters_;
  float* buffers_;
};

VectorEncoder walk_vector_encoder(Walk& walk, const EncoderConfig& config) {
  const std::string name = "observation_encoder.vector_mlp.";
  const i64 inputs = config.vector.inputs, hidden = config.vector.hidden;
  VectorEncoder encoder;
  for (i64 i = 0; i < config.vector.depth; ++i) {
    const bool last = i + 1 == config.vector.depth;
    encoder.layers.push_back(walk.dense(text(name, "layers.", i), last ? config.hidden : hidden,
                                        i == 0 ? inputs : hidden));
    if (!last) encoder.norms.push_back(walk.norm(text(name, "norms.", i), hidden));
  }
  encoder.mean = walk.buffer(kVectorMean, inputs);
  encoder.variance = walk.buffer(kVectorVariance, inputs);
  return encoder;
}

Encoder walk_encoder(Walk& walk, const EncoderConfig& config) {
  if (config.of_vectors()) return {.vector = walk_vector_encoder(walk, config)};
  const i64 dim = config.hidden, tokens = config.tokens(), meta = config.meta_tokens;
  Encoder encoder;
  encoder.cls = walk.vector("encoder.embeddings.cls_token", dim, {1, 1, dim});
  if (meta > 0) encoder.meta = walk.matrix("encoder.meta_token", meta, dim, {1, meta, dim});
  encoder.positions =
      walk.matrix("encoder.embeddings.position_embeddings", tokens, dim, {1, tokens, dim});
  encoder.patch = walk.dense("encoder.embeddings.patch_embeddings.projection", dim,
                             config.patch_inputs(), {dim, 3, config.patch, config.patch});
  for (i64 i = 0; i < config.layers; ++i) {
    const std::string name = text("encoder.encoder.layer.", i, ".");
    const std::string attention = name + "attention.attention.";
    EncoderLayer layer;
    layer.before = walk.norm(name + "layernorm_before", dim);
    layer.qkv = walk.joined({attention + "query", attention + "key", attention + "value"}, dim, dim,
                            !config.linear(i));
    layer.output = walk.dense(name + "attention.output.dense", dim, dim);
    layer.after = walk.norm(name + "layernorm_after", dim);
    layer.up = walk.dense(name + "intermediate.dense", config.mlp, dim);
    layer.down = walk.dense(name + "output.dense", dim, config.mlp);
    encoder.layers.push_back(layer);
  }
  encoder.norm = walk.norm("encoder.layernorm", dim);
  return encoder;
}

Predictor walk_predictor(Walk& walk, const PredictorConfig& config) {
  const i64 dim = config.hidden;
  Predictor predictor;
  predictor.positions = walk.matrix("predictor.pos_embedding", config.window, config.input,
                                    {1, config.window, config.input});
  if (config.input != dim) {
    predictor.input = walk.dense("predictor.transformer.input_proj", dim, config.input);
    predictor.condition = walk.dense("predictor.transformer.cond_proj", dim, config.input);
  }
  for (i64 i = 0; i < config.depth; ++i) {
    const std::string name = text("predictor.transformer.layers.", i, ".");
    PredictorLayer layer;
    layer.attention_norm = walk.norm(name + "attn.norm", dim);
    layer.qkv = walk.matrix(name + "attn.to_qkv.weight", 3 * config.inner(), dim);
    if (config.projects_attention())
      layer.out = walk.dense(name + "attn.to_out.0", dim, config.inner());
    layer.mlp_norm = walk.norm(name + "mlp.net.0", dim);
    layer.up = walk.dense(name + "mlp.net.1", config.mlp, dim);
    layer.down = walk.dense(name + "mlp.net.4", dim, config.mlp);
    layer.modulation = walk.dense(name + "adaLN_modulation.1", 6 * dim, dim);
    predictor.layers.push_back(layer);
  }
  predictor.norm = walk.norm("predictor.transformer.norm", dim);
  if (config.output != dim)
    predictor.output = walk.dense("predictor.transformer.output_proj", config.output, dim);
  return predictor;
}

ActionEncoder walk_action(Walk& walk, const ActionEncoderConfig& config) {
  const i64 wide = config.mlp_scale * config.output;
  ActionEncoder action;
  action.smooth = walk.dense("action_encoder.patch_embed", config.smoothed, config.input,
                             {config.smoothed, config.input, 1});
  action.up = walk.dense("action_encoder.embed.0", wide, config.smoothed);
  action.down = walk.dense("action_encoder.embed.2", config.output, wide);
  return action;
}

Head walk_head(Walk& walk, const std::string& name, const HeadConfig& config) {
  Head head;
  if (!config.present) return head;
  head.up = walk.dense(name + ".net.0", config.hidden, config.input);
  if (config.norm != HeadConfig::Norm::none) head.norm = walk.norm(name + ".net.1", config.hidden);
  if (config.norm == HeadConfig::Norm::batch) {
    head.running_mean = walk.buffer(name + ".net.1.running_mean", config.hidden);
    head.running_var = walk.buffer(name + ".net.1.running_var", config.hidden);
  }
  head.down = walk.dense(name + ".net.3", config.output, config.hidden);
  return head;
}

Tensors walk_model(Walk& walk, const Config& config) {
  Tensors tensors;
  tensors.encoder = walk_encoder(walk, config.encoder);
  tensors.predictor = walk_predictor(walk, config.predictor);
  tensors.action = walk_action(walk, config.action);
  tensors.projector = walk_head(walk, "projector", config.projector);
  tensors.pred_proj = walk_head(walk, "pred_proj", config.pred_proj);
  return tensors;
}

// names of the BatchNorm counters this configuration has
std::vector<std::string> counter_names(const Config& config) {
  std::vector<std::string> names;
  const std::pair<const char*, const HeadConfig*> heads[] = {{"projector", &config.projector},
                                                             {"pred_proj", &config.pred_proj}};
  for (const auto& [name, head] : heads) {
    if (head->present && head->norm == HeadConfig::Norm::batch) {
      names.push_back(text(name, ".net.1.num_batches_tracked"));
    }
  }
  return names;
}

bool replace_first(std::string& name, const std::string& from, const std::string& to) {
  const auto at = name.find(from);
  if (at == std::string::npos) return false;
  name.replace(at, from.size(), to);
  return true;
}

}  // namespace

std::string canonical_name(const std::string& given) {
  std::string name = given;
  if (name.rfind("model.", 0) == 0) name.erase(0, 6);
  // the hybrid models' own names -> those of their converter
  if (name == "encoder.cls_token") return "encoder.embeddings.cls_token";
  if (name == "encoder.pos_embed") return "encoder.embeddings.position_embeddings";
  replace_first(name, "encoder.patch_embed.proj.",
                "encoder.embeddings.patch_embeddings.projection.");
  replace_first(name, "encoder.norm.", "encoder.layernorm.");
  if (name.rfind("encoder.blocks.", 0) == 0) {
    replace_first(name, "encoder.blocks.", "encoder.encoder.layer.");
    replace_first(name, ".norm1.", ".layernorm_before.") ||
        replace_first(name, ".norm2.", ".layernorm_after.") ||
        replace_first(name, ".mlp.0.", ".intermediate.dense.") ||
        replace_first(name, ".mlp.2.", ".output.dense.") ||
        replace_first(name, ".attn.q_proj.", ".attention.attention.query.") ||
        replace_first(name, ".attn.k_proj.", ".attention.attention.key.") ||
        replace_first(name, ".attn.v_proj.", ".attention.attention.value.") ||
        replace_first(name, ".attn.out_proj.", ".attention.output.dense.");
    return name;
  }
  if (name.rfind("encoder.layers.", 0) != 0) return name;
  // transformers 5 -> the released names
  replace_first(name, "encoder.layers.", "encoder.encoder.layer.");
  replace_first(name, ".attention.q_proj.", ".attention.attention.query.") ||
      replace_first(name, ".attention.k_proj.", ".attention.attention.key.") ||
      replace_first(name, ".attention.v_proj.", ".attention.attention.value.") ||
      replace_first(name, ".attention.o_proj.", ".attention.output.dense.") ||
      replace_first(name, ".mlp.fc1.", ".intermediate.dense.") ||
      replace_first(name, ".mlp.fc2.", ".output.dense.");
  return name;
}

Layout layout_of(const Config& config) {
  Walk walk(nullptr, nullptr);
  walk_model(walk, config);
  return walk.layout;
}

Tensors bind(const Config& config, float* parameters, float* buffers) {
  Walk walk(parameters, buffers);
  return walk_model(walk, config);
}

Layout layout_of_head(const std::string& name, const HeadConfig& config) {
  Walk walk(nullptr, nullptr);
  walk_head(walk, name, config);
  return walk.layout;
}

Head bind_head(const HeadConfig& config, float* parameters) {
  Walk walk(parameters, nullptr);
  return walk_head(walk, "", config);
}

Weights::Weights(const Config& given) : config(given) {
  const Layout layout = layout_of(config);
  parameters = Tensor::zeros<float>({layout.parameters});
  buffers = Tensor::zeros<float>({layout.buffers});
  tensors = bind(config, parameters.data<float>(), buffers.data<float>());
}

namespace {

bool begins_with(const std::string& name, const char* start) { return name.rfind(start, 0) == 0; }

// rows of a tensor, of equally many parts
Tensor third_of(const Tensor& joint, i64 part) {
  const Tensor values = joint.converted(DType::f32);
  std::vector<i64> sizes;
  for (int d = 0; d < joint.shape().rank(); ++d) sizes.push_back(joint.shape()[d]);
  sizes[0] /= 3;
  const auto count = static_cast<std::size_t>(joint.numel() / 3);
  return Tensor::of<float>(Shape(sizes),
                           {values.data<float>() + static_cast<std::size_t>(part) * count, count});
}

// The tensors of a model under their released names. A Lightning checkpoint carries the loss's
// constants beside the model, a hybrid one a map of its encoder that nothing uses.
class Named : public TensorShapes {
 public:
  Named(const TensorMap& given, const std::string& where) {
    for (const auto& [name, tensor] : given) {
      if (begins_with(name, "sigreg.") || begins_with(name, "model.sigreg.")) continue;
      const std::string canonical = canonical_name(name);
      if (begins_with(canonical, "encoder.proj.")) continue;
      if (add_thirds(canonical, tensor)) continue;
      check(found.emplace(canonical, &tensor).second, where, ": tensor ", canonical,
            " is there twice");
    }
  }

  Shape shape(const std::string& name) const override {
    const auto at = found.find(name);
    return at == found.end() ? Shape{} : at->second->shape();
  }

  std::map<std::string, const Tensor*> found;

 private:
  // PyTorch's MultiheadAttention keeps query, key and value in one
  bool add_thirds(const std::string& name, const Tensor& tensor) {
    const std::string joint = ".attn.in_proj_";
    const auto at = name.find(joint);
    if (at == std::string::npos || tensor.shape().rank() < 1 || tensor.shape()[0] % 3 != 0) {
      return false;
    }
    const std::string kind = name.substr(at + joint.size());
    static constexpr const char* kParts[] = {"query.", "key.", "value."};
    for (const i64 part : {0, 1, 2}) {
      thirds_.push_back(third_of(tensor, part));
      found.emplace(name.substr(0, at) + ".attention.attention." + kParts[part] + kind,
                    &thirds_.back());
    }
    return true;
  }

  std::deque<Tensor> thirds_;
};

Weights weights_from_named(const Config& config, const std::map<std::string, const Tensor*>& found,
                           const std::string& where) {
  // a file can claim sizes for which the model would not fit memory: compare shapes before taking
  // any
  const Layout layout = layout_of(config);
  std::string problems;
  const auto problem = [&](const auto&... parts) {
    problems += text(problems.empty() ? "" : "; ", parts...);
  };
  for (const TensorSpec& spec : layout.specs) {
    const auto at = found.find(spec.name);
    if (at == found.end() && may_be_missing(spec.name)) continue;
    if (at == found.end()) {
      problem("missing ", spec.name, " ", spec.shape);
    } else if (!(at->second->shape() == spec.shape)) {
      problem(spec.name, " has shape ", at->second->shape(), ", needed ", spec.shape);
    }
  }
  const std::vector<std::string> counters = counter_names(config);
  for (const auto& [name, tensor] : found) {
    const bool known =
        std::any_of(layout.specs.begin(), layout.specs.end(),
                    [&wanted = name](const TensorSpec& spec) { return spec.name == wanted; }) ||
        std::find(counters.begin(), counters.end(), name) != counters.end();
    if (!known) problem("unexpected ", name, " ", tensor->shape());
  }
  check(problems.empty(), where, " does not fit its configuration: ", problems);

  Weights weights(config);
  for (const TensorSpec& spec : layout.specs) {
    float* to = (spec.trained ? weights.parameters : weights.buffers).data<float>() + spec.offset;
    if (!found.contains(spec.name)) {  // mean 0, variance 1
      std::fill_n(to, spec.shape.numel(), spec.name == kVectorVariance ? 1.0f : 0.0f);
      continue;
    }
    const Tensor values = found.at(spec.name)->converted(DType::f32);
    if (values.numel() > 0)
      std::memcpy(to, values.data<float>(), static_cast<std::size_t>(values.byte_count()));
  }
  for (const std::string& name : counters) {
    const auto at = found.find(name);
    if (at == found.end()) continue;
    check(at->second->numel() == 1, where, ": ", name, " has shape ", at->second->shape(),
          ", a scalar was needed");
    weights.batches_tracked = at->second->converted(DType::int64).data<i64>()[0];
  }
  return weights;
}

}  // namespace

Weights weights_from_tensors(const Config& config, const TensorMap& given,
                             const std::string& where) {
  return weights_from_named(config, Named(given, where).found, where);
}

TensorMap tensors_from_weights(const Weights& weights) {
  TensorMap tensors;
  for (const TensorSpec& spec : layout_of(weights.config).specs) {
    const float* from =
        (spec.trained ? weights.parameters : weights.buffers).data<float>() + spec.offset;
    tensors.emplace(
        spec.name,
        Tensor::of<float>(spec.shape, {from, static_cast<std::size_t>(spec.shape.numel())}));
  }
  for (const std::string& name : counter_names(weights.config)) {
    tensors.emplace(name,
                    Tensor::of<i64>(Shape{}, std::span<const i64>(&weights.batches_tracked, 1)));
  }
  return tensors;
}

namespace {

bool is_weights_file(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".safetensors" || extension == ".pt" || extension == ".pth" ||
         extension == ".ckpt";
}

std::filesystem::path weights_file_in(const std::filesystem::path& folder) {
  for (const char* name : {"weights.safetensors", "weights.pt"}) {
    if (std::filesystem::is_regular_file(folder / name)) return folder / name;
  }
  std::vector<std::filesystem::path> candidates;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file() && is_weights_file(entry.path()))
      candidates.push_back(entry.path());
  }
  check(!candidates.empty(), folder.string(),
        " holds no weights (.safetensors, .pt, .pth or .ckpt)");
  check(candidates.size() == 1, folder.string(), " holds ", candidates.size(),
        " files of weights; name the one to load");
  return candidates.front();
}

}  // namespace

Weights load_model(const std::filesystem::path& path) {
  check(std::filesystem::exists(path), path.string(), " does not exist");
  const std::filesystem::path file =
      std::filesystem::is_directory(path) ? weights_file_in(path) : path;
  const std::filesystem::path config = file.parent_path() / "config.json";
  check(std::filesystem::exists(config), config.string(), " does not exist; it must lie beside ",
        file.string());
  const TensorMap tensors = read_tensors(file);
  const Named named(tensors, file.string());
  return weights_from_named(config_from_json(read_json(config), config.string(), &named),
                            named.found, file.string());
}

}  // namespace orrery::lewm
