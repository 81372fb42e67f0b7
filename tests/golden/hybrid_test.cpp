#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "io/json.h"
#include "io/safetensors.h"
#include "io/tensors.h"
#include "models/lewm/encode.h"
#include "models/lewm/rollout.h"
#include "models/lewm/training.h"
#include "tests/golden/shared.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
using lewm::Weights;

// the slim and hybrid models of golden/quant
fs::path folder(const std::string& name) {
  return shared_folder() / "golden" / "quant" / "slim_hybrid" / name;
}

struct Shapes : lewm::TensorShapes {
  explicit Shapes(const TensorMap& given) {
    for (const auto& [name, tensor] : given) {
      all.emplace(lewm::canonical_name(name), tensor.shape());
    }
  }
  Shape shape(const std::string& name) const override {
    const auto at = all.find(name);
    return at == all.end() ? Shape{} : at->second;
  }
  std::map<std::string, Shape> all;
};

class Golden {
 public:
  explicit Golden(const std::string& name)
      : expect_(read_safetensors(folder(name) / "expect.safetensors")),
        noise_(read_json(folder(name) / "tolerance.json")) {}

  const Tensor& operator[](const std::string& name) const { return expect_.at(name); }
  bool has(const std::string& name) const { return expect_.count(name) > 0; }
  // ten times the float32 noise of the official modules, as the folder's README asks
  void expect(const std::string& name, const float* values, i64 count) const {
    const Tensor& wanted = expect_.at(name);
    ASSERT_EQ(wanted.numel(), count) << name;
    double worst = 0;
    for (i64 i = 0; i < count; ++i) {
      const double difference = std::abs(static_cast<double>(values[i]) - wanted.data<float>()[i]);
      if (!(difference <= worst)) worst = difference;
    }
    EXPECT_LE(worst, 10 * noise_.at(name).at("max_abs_diff_f32").get<double>()) << name;
  }

 private:
  TensorMap expect_;
  nlohmann::json noise_;
};

void expect_stages(const std::string& name, const fs::path& file) {
  Weights weights = lewm::load_model(file);
  const Golden golden(name);
  Context ctx;
  const lewm::Model model(ctx, lewm::load_model(file));
  const auto pixels = golden["pixels_u8"].view<u8, 5>();
  const i64 frames = pixels.size(0) * pixels.size(1), side = pixels.size(2);
  const View<const u8, 4> rows = pixels.reshaped<4>({frames, side, side, 3});
  auto state = lewm::make_encoder_state(ctx, model, side, side, frames);
  Tensor latents = Tensor::zeros<float>({frames, weights.config.latent()});
  int seen = 0;
  const lewm::Probe probe = [&](const char* stage, i64 layer, View<const float, 2> values) {
    const std::string key = layer < 0 ? stage : text(stage, "_", layer);
    if (!golden.has(key)) return;
    golden.expect(key, values.data(), values.numel());
    ++seen;
  };
  lewm::encode(ctx, model, state, rows, latents.view<float, 2>(), &probe);
  EXPECT_GE(seen, 4);
  golden.expect("emb", latents.data<float>(), latents.numel());
  // without a probe the last layer is computed for CLS alone
  lewm::encode(ctx, model, state, rows, latents.view<float, 2>());
  golden.expect("emb", latents.data<float>(), latents.numel());

  // the training pass in inference form gives the same latents and predictions
  const i64 windows = pixels.size(0), seen_frames = pixels.size(1);
  const auto action = golden["action"].view<float, 3>();
  weights.config.predictor.dropout = 0;
  lewm::TrainingState training(weights.config, windows, seen_frames);
  lewm::forward(ctx, weights, training, {.training = false}, pixels, action);
  golden.expect("emb", training.emb().data(), training.emb().numel());
  // all predictions but the last, which leads out of the window
  const Tensor& pred = golden["pred"];
  const i64 kept = seen_frames - 1, width = weights.config.latent();
  double worst = 0;
  for (i64 t = 0; t < kept; ++t) {
    for (i64 d = 0; d < width; ++d) {
      worst = std::max(worst, std::abs(static_cast<double>(training.pred()(0, t, d)) -
                                       pred.data<float>()[t * width + d]));
    }
  }
  const auto noise = read_json(folder(name) / "tolerance.json");
  EXPECT_LE(worst, 10 * noise.at("pred").at("max_abs_diff_f32").get<double>());
}

// What the published converter leaves, with a configuration put right by hand.
TEST(GoldenHybrid, ConvertedModels) {
  for (const char* name : {"slim", "hybrid"}) {
    ORRERY_NEEDS_SHARED(folder(name));
    SCOPED_TRACE(name);
    expect_stages(name, folder(name) / "lejepa_weights.safetensors");
  }
}

// The Lightning checkpoint itself, whose hybrid has names of its own and joint projections.
TEST(GoldenHybrid, LightningCheckpoints) {
  for (const char* name : {"slim", "hybrid"}) {
    ORRERY_NEEDS_SHARED(folder(name));
    SCOPED_TRACE(name);
    expect_stages(name, folder(name) / (std::string(name) + "_weights.ckpt"));
  }
}

// The converter always writes pictures of 224 in patches of 14: the tensors' shapes overrule it.
TEST(GoldenHybrid, ShapesOverruleTheConverter) {
  for (const char* name : {"slim", "hybrid"}) {
    ORRERY_NEEDS_SHARED(folder(name));
    const auto root = read_json(folder(name) / "config.converter.json");
    const TensorMap tensors = read_tensors(folder(name) / "lejepa_weights.safetensors");
    const Shapes shapes(tensors);
    const lewm::Config config = lewm::config_from_json(root, name, &shapes);
    const auto built = read_json(folder(name) / "built_with.json");
    EXPECT_EQ(config.encoder.image_size, built.at("img").get<i64>());
    EXPECT_EQ(config.encoder.patch, built.at("patch").get<i64>());
    EXPECT_EQ(config.projector.hidden, built.at("head_hidden").get<i64>());
    EXPECT_EQ(config.encoder.pattern, built.value("pattern", ""));
    // our own form says the same
    const lewm::Config again = lewm::config_from_json(lewm::json_from_config(config), name);
    EXPECT_EQ(lewm::layout_of(again).parameters, lewm::layout_of(config).parameters);
  }
}

}  // namespace
}  // namespace orrery
