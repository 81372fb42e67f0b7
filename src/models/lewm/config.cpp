#include "models/lewm/config.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/error.h"
#include "io/json.h"

namespace orrery::lewm {

namespace {

using nlohmann::json;

// larger than any model of the family, small enough that products of three cannot overflow
constexpr i64 kLargestSize = 1 << 20;
// a file may not make us list a million layers before their weights are missed
constexpr i64 kLargestDepth = 1024;
constexpr i64 kLargestImage = 16384;

// One node of the tree with its dotted name, for messages.
class Node {
 public:
  Node(const json& value, std::string name) : value_(&value), name_(std::move(name)) {
    check(value.is_object(), name_, " is ", value.type_name(), ", an object was needed");
  }

  bool has(const char* key) const { return value_->contains(key); }
  bool is_null(const char* key) const { return has(key) && value_->at(key).is_null(); }
  Node child(const char* key) const { return Node(value_->at(key), name_ + "." + key); }

  i64 size(const char* key, std::optional<i64> otherwise = std::nullopt,
           i64 largest = kLargestSize) const {
    if (!has(key) || value_->at(key).is_null()) {
      check(otherwise.has_value(), name_, ".", key, " is missing");
      return *otherwise;
    }
    const json& found = value_->at(key);
    check(found.is_number_integer() && found >= 1 && found <= largest, name_, ".", key, " is ",
          found.dump().substr(0, 40), ", an integer from 1 to ", largest, " was needed");
    return found.get<i64>();
  }

  float number(const char* key, float otherwise, float low, float high) const {
    if (!has(key) || value_->at(key).is_null()) return otherwise;
    const json& found = value_->at(key);
    check(found.is_number() && found.get<double>() >= low && found.get<double>() <= high, name_,
          ".", key, " is ", found.dump().substr(0, 40), ", a number from ", low, " to ", high,
          " was needed");
    return found.get<float>();
  }

  std::string string(const char* key, const std::string& otherwise) const {
    if (!has(key) || value_->at(key).is_null()) return otherwise;
    const json& found = value_->at(key);
    check(found.is_string(), name_, ".", key, " is ", found.type_name(), ", a string was needed");
    return found.get<std::string>();
  }

  // the class a `_target_` names, without its module; a bare string is a class too
  std::string target_class(const char* key) const {
    const json& found = value_->at(key);
    std::string target;
    if (found.is_string()) target = found.get<std::string>();
    if (found.is_object() && found.contains("_target_") && found.at("_target_").is_string()) {
      target = found.at("_target_").get<std::string>();
    }
    check(!target.empty(), name_, ".", key, " names no class");
    return target.substr(target.rfind('.') + 1);
  }

  // keys whose other values would change the arithmetic
  void must_be(const char* key, const json& needed) const {
    check(!has(key) || value_->at(key) == needed, name_, ".", key, " is ",
          has(key) ? value_->at(key).dump().substr(0, 40) : "", ", only ", needed.dump(),
          " is supported");
  }

  const std::string& name() const { return name_; }

 private:
  const json* value_;
  std::string name_;
};

struct Preset {
  i64 hidden, layers, heads;
};

EncoderConfig hybrid_from(const Node& node) {
  EncoderConfig encoder;
  encoder.pattern = node.string("pattern", "ALAL");
  check(!encoder.pattern.empty() && encoder.pattern.size() <= kLargestDepth &&
            encoder.pattern.find_first_not_of("AL") == std::string::npos,
        node.name(), ".pattern is \"", encoder.pattern.substr(0, 40),
        "\", letters A (softmax attention) and L (linear) were needed");
  encoder.image_size = node.size("image_size", 224, kLargestImage);
  encoder.patch = node.size("patch_size", 14);
  encoder.hidden = node.size("hidden_size", 64);
  encoder.layers = node.size("num_hidden_layers", 4, kLargestDepth);
  encoder.heads = node.size("num_attention_heads", 4);
  encoder.mlp = node.size("intermediate_size", 4 * encoder.hidden);
  encoder.norm_eps = node.number("layer_norm_eps", 1e-5f, 0.0f, 1.0f);
  encoder.meta_tokens = node.size("meta_tokens", 4, kLargestDepth);
  return encoder;
}

void check_encoder(const EncoderConfig& encoder, const std::string& name) {
  check(encoder.hidden % encoder.heads == 0, name, ": width ", encoder.hidden,
        " does not divide into ", encoder.heads, " heads");
  check(encoder.patch <= encoder.image_size, name, ": patch ", encoder.patch,
        " is larger than the image, ", encoder.image_size);
}

EncoderConfig encoder_from(const Node& node) {
  if (node.has("pattern")) {
    const EncoderConfig encoder = hybrid_from(node);
    check_encoder(encoder, node.name());
    return encoder;
  }
  // the builder's presets; overriding hidden_size does not change the preset's MLP width
  static const std::map<std::string, Preset> presets = {{"tiny", {192, 12, 3}},
                                                        {"small", {384, 12, 6}},
                                                        {"base", {768, 12, 12}},
                                                        {"large", {1024, 24, 16}},
                                                        {"huge", {1280, 32, 16}}};
  const std::string size = node.string("size", "tiny");
  const auto preset = presets.find(size);
  check(preset != presets.end(), node.name(), ".size is \"", size,
        "\", tiny, small, base, large or huge was needed");
  node.must_be("hidden_act", "gelu");
  node.must_be("qkv_bias", true);
  node.must_be("num_channels", 3);
  node.must_be("use_mask_token", false);

  EncoderConfig encoder;
  encoder.image_size = node.size("image_size", 224, kLargestImage);
  encoder.patch = node.size("patch_size", 16);
  encoder.hidden = node.size("hidden_size", preset->second.hidden);
  encoder.layers = node.size("num_hidden_layers", preset->second.layers, kLargestDepth);
  encoder.heads = node.size("num_attention_heads", preset->second.heads);
  encoder.mlp = node.size("intermediate_size", 4 * preset->second.hidden);
  encoder.norm_eps = node.number("layer_norm_eps", 1e-12f, 0.0f, 1.0f);
  check_encoder(encoder, node.name());
  return encoder;
}

// the vector world models' encoder: no projector behind it
EncoderConfig vector_from(const Node& node) {
  const std::string kind = node.string("kind", "vector_mlp");
  check(kind == "vector_mlp", node.name(), ".kind is \"", kind,
        "\", vector_mlp was needed; an encoder of pictures is `encoder`");
  EncoderConfig encoder;
  encoder.vector.inputs = node.size("input_dim");
  encoder.vector.hidden = node.size("hidden_dim", 512);
  encoder.vector.depth = node.size("depth", 3, kLargestDepth);
  encoder.vector.column = node.string("column", encoder.vector.column);
  make_vector_encoder(encoder, node.size("output_dim", 192));
  return encoder;
}

PredictorConfig predictor_from(const Node& node) {
  PredictorConfig predictor;
  predictor.window = node.size("num_frames");
  predictor.input = node.size("input_dim");
  predictor.hidden = node.size("hidden_dim");
  predictor.output = node.size("output_dim", predictor.input);
  predictor.depth = node.size("depth", std::nullopt, kLargestDepth);
  predictor.heads = node.size("heads");
  predictor.head_dim = node.size("dim_head", 64);
  predictor.mlp = node.size("mlp_dim");
  predictor.dropout = node.number("dropout", 0.0f, 0.0f, 0.99f);
  predictor.embedding_dropout = node.number("emb_dropout", 0.0f, 0.0f, 0.99f);
  return predictor;
}

ActionEncoderConfig action_from(const Node& node) {
  ActionEncoderConfig action;
  action.input = node.size("input_dim");
  action.smoothed = node.size("smoothed_dim", 10);
  action.output = node.size("emb_dim");
  action.mlp_scale = node.size("mlp_scale", 4);
  return action;
}

// a head that is absent is the identity
HeadConfig head_from(const Node& root, const char* key, bool flat_form, i64 width) {
  HeadConfig head;
  if (!root.has(key) || root.is_null(key)) {
    head.present = false;
    head.input = head.hidden = head.output = width;
    head.norm = HeadConfig::Norm::none;
    return head;
  }
  const Node node = root.child(key);
  head.input = node.size("input_dim");
  head.hidden = node.size("hidden_dim");
  head.output = node.size("output_dim", head.input);
  if (!node.has("norm_fn")) {
    head.norm = flat_form ? HeadConfig::Norm::batch : HeadConfig::Norm::layer;
  } else if (node.is_null("norm_fn")) {
    head.norm = HeadConfig::Norm::none;
  } else {
    const std::string norm = node.target_class("norm_fn");
    check(norm == "BatchNorm1d" || norm == "LayerNorm" || norm == "Identity", node.name(),
          ".norm_fn is \"", norm, "\", BatchNorm1d, LayerNorm or Identity was needed");
    head.norm = norm == "BatchNorm1d" ? HeadConfig::Norm::batch
                : norm == "LayerNorm" ? HeadConfig::Norm::layer
                                      : HeadConfig::Norm::none;
  }
  if (node.has("act_fn") && !node.is_null("act_fn")) {
    const std::string activation = node.target_class("act_fn");
    check(activation == "GELU" || activation == "SiLU", node.name(), ".act_fn is \"", activation,
          "\", GELU or SiLU was needed");
    head.activation = activation == "GELU" ? Activation::gelu : Activation::silu;
  }
  return head;
}

void check_fit(const Config& config, const std::string& where) {
  const auto fit = [&](i64 a, const char* name_a, i64 b, const char* name_b) {
    check(a == b, where, ": ", name_a, " is ", a, " but ", name_b, " is ", b, "; they must agree");
  };
  if (config.projector.present) {
    fit(config.projector.input, "projector.input_dim", config.encoder.hidden,
        "the encoder's width");
  }
  fit(config.predictor.input, "predictor.input_dim", config.latent(), "the latent width");
  fit(config.action.output, "action_encoder.emb_dim", config.predictor.input,
      "predictor.input_dim");
  if (config.pred_proj.present) {
    fit(config.pred_proj.input, "pred_proj.input_dim", config.predictor.output,
        "predictor.output_dim");
  }
  fit(config.pred_proj.present ? config.pred_proj.output : config.predictor.output,
      "the predictor's result", config.latent(), "the latent width");
}

// dimension `at` of a tensor's shape, where that is known and fits
i64 told(const TensorShapes* shapes, const std::string& name, int at, i64 otherwise) {
  if (shapes == nullptr) return otherwise;
  const Shape shape = shapes->shape(name);
  if (shape.rank() <= at || shape[at] < 1 || shape[at] > kLargestSize) return otherwise;
  return shape[at];
}

// the side of a square of so many patches, or what the file says
i64 side_of(i64 patches, i64 otherwise) {
  const auto side = static_cast<i64>(std::sqrt(static_cast<double>(patches)));
  return side * side == patches ? side : otherwise;
}

Config config_from_converter(const Node& root, const TensorShapes* shapes) {
  const std::string type = root.string("encoder_type", "vit");
  check(type == "vit" || type == "hybrid", root.name(), ".encoder_type is \"", type,
        "\", vit or hybrid was needed");
  root.must_be("channels", 3);
  const std::string in_encoder = "encoder.embeddings.";
  Config config;
  EncoderConfig& e = config.encoder;
  e.hidden = root.size("encoder_hidden");
  e.layers = root.size("encoder_layers", std::nullopt, kLargestDepth);
  e.heads = root.size("encoder_heads");
  e.mlp = root.size("encoder_inter");
  if (type == "hybrid") {
    e.norm_eps = 1e-5f;
    e.meta_tokens = root.size("meta_tokens", std::nullopt, kLargestDepth);
    e.pattern = "ALAL";
    if (shapes != nullptr) {
      e.pattern.clear();
      for (i64 i = 0; i < e.layers; ++i) {
        const std::string name =
            text("encoder.encoder.layer.", i, ".attention.attention.query.bias");
        e.pattern += shapes->shape(name).rank() == 0 ? 'L' : 'A';
      }
    }
  }
  e.patch = told(shapes, in_encoder + "patch_embeddings.projection.weight", 3,
                 root.size("patch_size", 14));
  e.image_size = root.size("image_size", 224, kLargestImage);
  const i64 tokens = told(shapes, in_encoder + "position_embeddings", 1, 0);
  if (tokens > e.leading()) {
    e.image_size = e.patch * side_of(tokens - e.leading(), e.image_size / e.patch);
  }
  check_encoder(e, root.name());

  const i64 latent = root.size("latent_dim");
  PredictorConfig& p = config.predictor;
  p.window = told(shapes, "predictor.pos_embedding", 1, 3);
  p.input = p.output = latent;
  p.hidden = root.size("predictor_hidden");
  p.depth = root.size("predictor_layers", std::nullopt, kLargestDepth);
  p.heads = root.size("predictor_heads");
  const i64 inner = root.size("predictor_inner_dim");
  check(inner % p.heads == 0, root.name(), ".predictor_inner_dim is ", inner,
        ", which does not divide into ", p.heads, " heads");
  p.head_dim = inner / p.heads;
  p.mlp = root.size("predictor_inter");
  // the slim models' predictor gives its own width, which pred_proj takes
  p.output = told(shapes, "pred_proj.net.0.weight", 1, p.hidden);

  ActionEncoderConfig& action = config.action;
  action.input = root.size("action_dim");
  action.input = told(shapes, "action_encoder.patch_embed.weight", 1, action.input);
  action.smoothed = told(shapes, "action_encoder.patch_embed.weight", 0, 10);
  action.output = latent;
  const i64 wide = told(shapes, "action_encoder.embed.0.weight", 0, 4 * latent);
  check(wide % latent == 0, root.name(), ": the action encoder's ", wide,
        " units are no multiple of the latent's ", latent);
  action.mlp_scale = wide / latent;
  config.projector = {.input = e.hidden,
                      .hidden = told(shapes, "projector.net.0.weight", 0, 2048),
                      .output = latent};
  config.pred_proj = {.input = p.output,
                      .hidden = told(shapes, "pred_proj.net.0.weight", 0, 2048),
                      .output = latent};
  check_fit(config, root.name());
  return config;
}

}  // namespace

void make_vector_encoder(EncoderConfig& encoder, i64 outputs) {
  encoder.image_size = encoder.layers = encoder.mlp = 0;
  encoder.heads = 1;
  encoder.hidden = outputs;
}

Config config_from_json(const json& root_value, const std::string& where,
                        const TensorShapes* shapes) {
  const Node root(root_value, where);
  if (root.has("encoder_type")) return config_from_converter(root, shapes);
  const bool vectors = root.has("observation_encoder");
  for (const char* key :
       {vectors ? "observation_encoder" : "encoder", "predictor", "action_encoder"}) {
    check(root.has(key), where, ": ", key, " is missing");
  }
  check(!vectors || (!root.has("encoder") && !root.has("projector")), where,
        ": observation_encoder stands in place of encoder and projector, not beside them");
  const bool flat_form = !root.has("_target_") && !root.child("predictor").has("_target_");

  Config config;
  config.encoder = vectors ? vector_from(root.child("observation_encoder"))
                           : encoder_from(root.child("encoder"));
  config.predictor = predictor_from(root.child("predictor"));
  config.action = action_from(root.child("action_encoder"));
  config.projector = head_from(root, "projector", flat_form, config.encoder.hidden);
  config.pred_proj = head_from(root, "pred_proj", flat_form, config.predictor.output);
  check_fit(config, where);
  return config;
}

Config read_config(const std::filesystem::path& path) {
  return config_from_json(read_json(path), path.string());
}

json json_from_config(const Config& config) {
  const EncoderConfig& e = config.encoder;
  const PredictorConfig& p = config.predictor;
  const std::string module = "stable_worldmodel.wm.lewm.module.";
  json root = {
      {"_target_", "stable_worldmodel.wm.lewm.LeWM"},
      {"encoder",
       {{"_target_", "stable_pretraining.backbone.utils.vit_hf"},
        {"size", "tiny"},
        {"patch_size", e.patch},
        {"image_size", e.image_size},
        {"pretrained", false},
        {"use_mask_token", false},
        {"hidden_size", e.hidden},
        {"num_hidden_layers", e.layers},
        {"num_attention_heads", e.heads},
        {"intermediate_size", e.mlp}}},
      {"predictor",
       {{"_target_", module + "Predictor"},
        {"num_frames", p.window},
        {"input_dim", p.input},
        {"hidden_dim", p.hidden},
        {"output_dim", p.output},
        {"depth", p.depth},
        {"heads", p.heads},
        {"mlp_dim", p.mlp},
        {"dim_head", p.head_dim},
        // printed as written in a config by hand: 0.1, not the nearest float
        {"dropout", std::stod(text(p.dropout))},
        {"emb_dropout", std::stod(text(p.embedding_dropout))}}},
      {"action_encoder",
       {{"_target_", module + "Embedder"},
        {"input_dim", config.action.input},
        {"emb_dim", config.action.output},
        {"smoothed_dim", config.action.smoothed},
        {"mlp_scale", config.action.mlp_scale}}},
  };
  if (e.hybrid()) {
    root["encoder"] = {{"_target_", "orrery.HybridEncoder"}, {"pattern", e.pattern},
                       {"meta_tokens", e.meta_tokens},       {"patch_size", e.patch},
                       {"image_size", e.image_size},         {"hidden_size", e.hidden},
                       {"num_hidden_layers", e.layers},      {"num_attention_heads", e.heads},
                       {"intermediate_size", e.mlp}};
  }
  if (!e.of_vectors() && e.norm_eps != (e.hybrid() ? 1e-5f : 1e-12f))
    root["encoder"]["layer_norm_eps"] = std::stod(text(e.norm_eps));
  if (e.of_vectors()) {
    root["_target_"] = "orrery.VectorWorldModel";
    root.erase("encoder");
    root["observation_encoder"] = {{"kind", "vector_mlp"},         {"column", e.vector.column},
                                   {"input_dim", e.vector.inputs}, {"hidden_dim", e.vector.hidden},
                                   {"depth", e.vector.depth},      {"output_dim", e.hidden}};
  }
  const auto put_head = [&](const char* key, const HeadConfig& head) {
    if (!head.present) return;
    json node = {{"_target_", module + "MLP"},
                 {"input_dim", head.input},
                 {"output_dim", head.output},
                 {"hidden_dim", head.hidden}};
    if (head.norm == HeadConfig::Norm::batch) {
      node["norm_fn"] = {{"_target_", "torch.nn.BatchNorm1d"}, {"_partial_", true}};
    } else if (head.norm == HeadConfig::Norm::layer) {
      node["norm_fn"] = {{"_target_", "torch.nn.LayerNorm"}, {"_partial_", true}};
    } else {
      node["norm_fn"] = nullptr;
    }
    if (head.activation == Activation::silu)
      node["act_fn"] = {{"_target_", "torch.nn.SiLU"}, {"_partial_", true}};
    root[key] = node;
  };
  put_head("projector", config.projector);
  put_head("pred_proj", config.pred_proj);
  return root;
}

}  // namespace orrery::lewm
