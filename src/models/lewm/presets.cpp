#include "models/lewm/presets.h"

#include <regex>

#include "base/error.h"

namespace orrery::lewm {

namespace {

// projector, predictor, action encoder and pred_proj around an encoder and a latent
Config around(const EncoderConfig& encoder, i64 latent, i64 hidden, i64 depth) {
  Config config;
  config.encoder = encoder;
  config.predictor.input = latent;
  config.predictor.hidden = hidden;
  config.predictor.output = hidden;  // pred_proj takes it to the latent's width
  config.predictor.depth = depth;
  config.action.output = latent;
  config.projector.input = encoder.hidden;
  config.projector.output = latent;
  config.pred_proj.input = hidden;
  config.pred_proj.output = latent;
  return config;
}

// an MLP of recorded numbers and a predictor of the latent's width, that sees `window` frames
Config vectors(i64 latent, i64 depth, i64 window) {
  Config config = around({}, latent, latent, depth);
  config.encoder.vector.inputs = 1;  // the data tells
  make_vector_encoder(config.encoder, latent);
  config.projector = {.present = false,
                      .input = latent,
                      .hidden = latent,
                      .output = latent,
                      .norm = HeadConfig::Norm::none};
  config.predictor.window = window;
  return config;
}

i64 number(const std::string& digits) { return std::stoll(digits); }

}  // namespace

Config preset(const std::string& name) {
  if (name == "lewm-tiny") return {};
  const EncoderConfig small{.hidden = 384, .layers = 12, .heads = 6, .mlp = 1536};
  if (name == "lewm-small") return around(small, 192, 192, 6);
  const EncoderConfig base{.hidden = 768, .layers = 12, .heads = 12, .mlp = 3072};
  if (name == "lewm-base") return around(base, 192, 192, 6);

  std::smatch found;
  // at most four digits: no number overflows
  static const std::regex slim("slim_([1-9][0-9]{0,3})d_([1-9][0-9]?)e_([1-9][0-9]?)p");
  if (std::regex_match(name, found, slim)) {
    return around({.layers = number(found[2])}, number(found[1]), 192, number(found[3]));
  }
  static const std::regex hybrid("hybrid_([1-9][0-9]{0,3})d_([1-9][0-9]?)_([1-9][0-9]?)");
  if (std::regex_match(name, found, hybrid)) {
    const i64 width = number(found[1]);
    check(width % 4 == 0, "preset \"", name, "\": width ", width, " does not divide into 4 heads");
    return around({.hidden = width,
                   .layers = number(found[2]),
                   .heads = 4,
                   .mlp = 4 * width,
                   .norm_eps = 1e-5f,
                   .pattern = "ALAL",
                   .meta_tokens = 4},
                  width, width, number(found[3]));
  }
  if (name == "vector-mlp") {
    Config config = vectors(192, 6, 8);
    config.predictor.heads = 8;
    config.predictor.head_dim = 32;
    config.predictor.mlp = 1024;
    config.pred_proj.hidden = 512;
    config.pred_proj.norm = HeadConfig::Norm::layer;
    return config;
  }
  static const std::regex vector("vector_([1-9][0-9]{0,3})d_([1-9][0-9]?)p");
  if (std::regex_match(name, found, vector)) return vectors(number(found[1]), number(found[2]), 3);
  std::string known;
  for (const std::string& one : preset_names()) known += (known.empty() ? "" : ", ") + one;
  fail("there is no preset \"", name, "\"; known are ", known,
       ", and slim_<Z>d_<E>e_<P>p, hybrid_<H>d_<E>_<P> and vector_<Z>d_<P>p with other numbers");
}

std::vector<std::string> preset_names() {
  return {"lewm-tiny",       "lewm-small",     "lewm-base",      "slim_48d_2e_2p",
          "slim_64d_3e_3p",  "slim_96d_2e_3p", "slim_96d_4e_4p", "slim_128d_4e_4p",
          "slim_192d_4e_4p", "hybrid_64d_4_4", "vector-mlp"};
}

}  // namespace orrery::lewm
