#include "models/lewm/parity.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "media/image.h"
#include "models/lewm/encode.h"
#include "models/lewm/recipe.h"
#include "models/lewm/rollout.h"
#include "ops/elementwise.h"
#include "ops/image.h"
#include "tensor/placed.h"

namespace orrery::lewm {

namespace {

namespace fs = std::filesystem;
using Values = std::vector<float>;

// accepted multiple of the reference's own float32 noise: another program sums in another order
constexpr double kAcceptedMultiple = 10.0;
// tokens whose states the full-size files keep (as far as the model has them): CLS and three
// patches
constexpr i64 kKeptTokens[] = {0, 1, 100, 256};

Values values_of(Context& ctx, View<const float, 2> rows) {
  Values values(static_cast<std::size_t>(rows.numel()));
  const i64 width = rows.size(1);
  const bool whole = rows.contiguous();
  const i64 pieces = whole ? 1 : rows.size(0), count = whole ? rows.numel() : width;
  for (i64 r = 0; r < pieces; ++r) {
    ctx.download(values.data() + r * width, rows.data() + r * rows.stride(0),
                 static_cast<std::size_t>(count) * sizeof(float));
  }
  return values;
}

// What a golden folder holds, with the folder above it behind.
class GoldenFolder {
 public:
  explicit GoldenFolder(const fs::path& folder) : folder_(folder) {
    check(fs::is_directory(folder), folder.string(), " is no folder");
    expect_ = read_safetensors(folder / "expect.safetensors");
    const fs::path above = folder.parent_path() / "expect.safetensors";
    if (fs::exists(above)) above_ = read_safetensors(above);
    if (fs::exists(folder / "tolerance.json")) {
      tolerance_ = read_json(folder / "tolerance.json");
    } else {
      const auto shared = read_json(folder.parent_path() / "tolerance.json");
      tolerance_["expect"] = shared.value(folder.filename().string(), nlohmann::json::object());
    }
    if (fs::exists(folder / "tolerance_history.json")) {
      tolerance_["rollout_history"] = read_json(folder / "tolerance_history.json");
    }
  }

  const fs::path& path() const { return folder_; }
  const TensorMap& expect() const { return expect_; }

  const Tensor* input(const std::string& name) const {
    const auto own = expect_.find(name);
    if (own != expect_.end()) return &own->second;
    const auto other = above_.find(name);
    return other == above_.end() ? nullptr : &other->second;
  }

  std::optional<double> noise(const std::string& section, const std::string& name) const {
    if (!tolerance_.contains(section) || !tolerance_[section].contains(name)) return std::nullopt;
    return tolerance_[section][name].at("max_abs_diff_f32").get<double>();
  }

  // pictures of frames.json, found beside the file or under a data folder above it; [n, h, w, 3]
  std::optional<Tensor> pictures() const {
    if (!fs::exists(folder_ / "frames.json")) return std::nullopt;
    std::vector<Image> images;
    for (const auto& entry : read_json(folder_ / "frames.json")) {
      images.push_back(read_image(find_picture(entry.at("file").get<std::string>())));
    }
    check(!images.empty(), (folder_ / "frames.json").string(), " names no pictures");
    Tensor frames(DType::uint8,
                  {static_cast<i64>(images.size()), images[0].height, images[0].width, 3});
    auto* to = frames.data<u8>();
    for (const Image& image : images) {
      check(image.height == images[0].height && image.width == images[0].width, folder_.string(),
            ": pictures differ in size");
      std::memcpy(to, image.rgb.data(), image.rgb.size());
      to += image.rgb.size();
    }
    return frames;
  }

  // the goals' pictures, one per sequence; [n, h, w, 3]
  Tensor goals() const {
    if (const Tensor* goal = input("goal_u8")) {
      const Shape& shape = goal->shape();
      check(shape.rank() == 5, folder_.string(), ": goal_u8 has shape ", shape,
            ", (b, t, h, w, 3) was needed");
      return goal->clone().reshaped({shape[0] * shape[1], shape[2], shape[3], shape[4]});
    }
    // the last picture
    const std::optional<Tensor> pictures = this->pictures();
    check(pictures.has_value(), folder_.string(), " holds no pictures");
    Tensor goal(DType::uint8, {1, pictures->size(1), pictures->size(2), 3});
    std::memcpy(goal.bytes(), pictures->bytes() + pictures->byte_count() - goal.byte_count(),
                static_cast<std::size_t>(goal.byte_count()));
    return goal;
  }

 private:
  fs::path find_picture(const std::string& file) const {
    if (fs::exists(folder_ / file)) return folder_ / file;
    fs::path at = fs::absolute(folder_);
    for (int level = 0; level < 5; ++level, at = at.parent_path()) {
      if (!fs::is_directory(at / "data")) continue;
      for (const auto& entry : fs::directory_iterator(at / "data")) {
        if (fs::exists(entry.path() / file)) return entry.path() / file;
      }
    }
    fail("picture ", file, " named by ", (folder_ / "frames.json").string(), " was not found");
  }

  fs::path folder_;
  TensorMap expect_;
  TensorMap above_;
  nlohmann::json tolerance_ = nlohmann::json::object();
};

Weights weights_of(const GoldenFolder& golden) {
  if (fs::exists(golden.path() / "recipe.json")) {
    return weights_from_recipe(read_config(golden.path() / "config.json"),
                               golden.path() / "recipe.json");
  }
  return load_model(golden.path());
}

// Everything our side computed for one picture size, by the golden names.
class Ours {
 public:
  explicit Ours(Context& ctx) : ctx_(ctx) {}

  std::map<std::string, Values> stages;

  Probe probe(i64 batch = 0, i64 time = 0) {
    return [this, batch, time](const char* stage, i64 layer, View<const float, 2> rows) {
      Values values = values_of(ctx_, rows);
      if (batch > 0) values = batch_first(values, batch, time);
      auto& slot = stages[name_of_stage(stage, layer)];
      slot.insert(slot.end(), values.begin(),
                  values.end());  // chunks of frames come one after the other
    };
  }

 private:
  static std::string name_of_stage(const std::string& stage, i64 layer) {
    if (layer < 0) return stage;
    // the block's number stands before what part of the block it is: predictor_block_0_attn
    const std::string block = "predictor_block";
    if (stage.rfind(block + "_", 0) == 0)
      return text(block, "_", layer, stage.substr(block.size()));
    return text(stage, "_", layer);
  }
  // rows [time, batch] -> [batch, time]
  static Values batch_first(const Values& values, i64 batch, i64 time) {
    Values result(values.size());
    const i64 width = static_cast<i64>(values.size()) / (batch * time);
    for (i64 t = 0; t < time; ++t) {
      for (i64 b = 0; b < batch; ++b) {
        std::copy_n(values.begin() + (t * batch + b) * width, width,
                    result.begin() + (b * time + t) * width);
      }
    }
    return result;
  }

  Context& ctx_;
};

class Parity {
 public:
  Parity(Context& ctx, const fs::path& folder, Precision precision)
      : ctx_(ctx),
        golden_(folder),
        model_(ctx, weights_of(golden_), precision),
        dim_(model_.config().latent()) {
    report.parameters = model_.weights().parameters.numel();
  }

  void run() {
    std::set<std::string> sizes;  // "" or "_70x98"
    for (const auto& [name, tensor] : golden_.expect()) {
      const std::string stem = "pixels_u8";
      if (name.rfind(stem, 0) == 0) sizes.insert(name.substr(stem.size()));
    }
    if (sizes.empty()) sizes.insert("");
    for (const std::string& size : sizes) run_size(size);
    for (const auto& [name, tensor] : golden_.expect()) {
      if (is_input(name)) continue;
      compare("expect", name, name, tensor, stages_);
    }
    run_rollouts("rollout_split", false);
    run_rollouts("rollout_history", true);
  }

  ParityReport report;

 private:
  static bool is_input(const std::string& name) {
    for (const char* start : {"pixels_u8", "goal_u8", "goal_pixels", "candidates"}) {
      if (name.rfind(start, 0) == 0) return true;
    }
    return name == "action" || name == "action_history";
  }

  void compare(const std::string& section, const std::string& label, const std::string& name,
               const Tensor& expected, const std::map<std::string, Values>& computed) {
    ParityStage stage;
    stage.name = label;
    stage.max_abs = std::numeric_limits<double>::infinity();
    // normalised pixels are the official float32 result itself: no noise is allowed
    const auto noise = name == "pixels" ? std::optional<double>(0.0) : golden_.noise(section, name);
    const auto found = computed.find(name);
    if (found != computed.end() && static_cast<i64>(found->second.size()) == expected.numel()) {
      stage.max_abs = 0;
      const float* want = expected.data<float>();
      for (std::size_t i = 0; i < found->second.size(); ++i) {
        const double difference =
            std::abs(static_cast<double>(found->second[i]) - static_cast<double>(want[i]));
        if (!(difference <= stage.max_abs)) stage.max_abs = difference;  // NaN is the worst
      }
    }
    if (noise.has_value()) {
      stage.noise = *noise;
      stage.tolerance = kAcceptedMultiple * *noise;
      stage.ok = stage.max_abs <= stage.tolerance;
    }
    report.stages.push_back(stage);
  }

  // frames of a size, [n, h, w, 3], and how many belong to one sequence
  struct Frames {
    Tensor bytes;
    i64 batch = 1;
    i64 time = 1;
  };
  Frames frames_of(const std::string& size) {
    if (const Tensor* given = golden_.input("pixels_u8" + size)) {
      const Shape& shape = given->shape();
      check(shape.rank() == 5, "pixels_u8", size, " has shape ", shape,
            ", (b, t, h, w, 3) was needed");
      return {given->clone().reshaped({shape[0] * shape[1], shape[2], shape[3], shape[4]}),
              shape[0], shape[1]};
    }
    std::optional<Tensor> pictures = golden_.pictures();
    check(pictures.has_value(), golden_.path().string(), " holds no pictures");
    const Tensor* action = golden_.input("action");
    check(action != nullptr && action->rank() == 3, golden_.path().string(),
          ": action (b, t, a) is missing");
    return {std::move(*pictures), action->size(0), action->size(1)};
  }

  void run_size(const std::string& size) {
    const Frames frames = frames_of(size);
    const i64 count = frames.bytes.size(0), height = frames.bytes.size(1),
              width = frames.bytes.size(2);
    const Placed<u8> placed(ctx_, frames.bytes);
    const auto bytes = placed.view<4>({count, height, width, 3});
    Ours ours(ctx_);

    Placed<float> normalized(ctx_, count * 3 * height * width);
    normalize_images(ctx_, bytes, normalized.view<4>({count, 3, height, width}));
    ours.stages["pixels"] = normalized.values();

    EncoderState encoder = make_encoder_state(ctx_, model_, height, width, count);
    Values positions = values_of(ctx_, encoder.positions);
    const auto& trained = model_.weights().tensors.encoder;
    std::copy_n(trained.positions.data(), trained.positions.size(1),
                positions.begin());  // without the CLS token
    ours.stages["positions"] = positions;

    Placed<float> emb(ctx_, count * dim_);
    const Probe probe = ours.probe();
    encode(ctx_, model_, encoder, bytes, emb.view<2>({count, dim_}), &probe);
    keep_frame_zero(ours, count);
    if (size.empty()) emb_ = emb.values();

    if (const Tensor* action = golden_.input("action")) run_predictor(*action, frames, emb, ours);
    for (auto& [name, values] : ours.stages) stages_[name + size] = std::move(values);
  }

  // the first windows of every sequence, all frames of them
  void run_predictor(const Tensor& action, const Frames& frames, const Placed<float>& emb,
                     Ours& ours) {
    const i64 width = action.size(2);
    const i64 time = std::min({frames.time, model_.config().predictor.window, action.size(1)});
    // a probe wants the batch in one chunk: on a CPU that is one thread's
    Context one({.threads = 1});
    Context& ctx = ctx_.device() == Device::cpu ? one : ctx_;
    RolloutState state =
        make_rollout_state(ctx, model_, {.samples = frames.batch, .history = 1, .blocks = time});
    const Placed<float> actions(ctx, action);
    const View<const float, 3> some(actions.data(), {frames.batch, time, width},
                                    {action.size(1) * width, width, 1});
    const View<const float, 3> latents(emb.data(), {frames.batch, time, dim_},
                                       {frames.time * dim_, dim_, 1});
    Placed<float> pred(ctx, frames.batch * time * dim_);
    const Probe probe = ours.probe(frames.batch, time);
    predict(ctx, model_, state, latents, some, pred.view<3>({frames.batch, time, dim_}), &probe);
  }

  // the full-size files keep a few tokens of frame 0 instead of everything
  static void keep_frame_zero(Ours& ours, i64 frames) {
    const auto pick = [&](const Values& all, i64 width, Values& to) {
      const i64 tokens = static_cast<i64>(all.size()) / (frames * width);
      for (const i64 token : kKeptTokens) {
        if (token < tokens)
          to.insert(to.end(), all.begin() + token * width, all.begin() + (token + 1) * width);
      }
    };
    const i64 width = static_cast<i64>(ours.stages.at("cls").size()) / frames;
    Values input, layers;
    pick(ours.stages.at("encoder_input"), width, input);
    for (i64 layer = 0; ours.stages.count(text("encoder_layer_", layer)) > 0; ++layer) {
      pick(ours.stages.at(text("encoder_layer_", layer)), width, layers);
    }
    ours.stages["encoder_input_frame0"] = input;
    ours.stages["encoder_layers_frame0"] = layers;
  }

  void run_rollouts(const std::string& section, bool actions_are_future) {
    const fs::path path = golden_.path() / (section + ".safetensors");
    if (!fs::exists(path)) return;
    const TensorMap expected = read_safetensors(path);
    const Tensor* candidates = golden_.input("candidates");
    const Tensor* past = golden_.input("action_history");
    check(candidates != nullptr && past != nullptr && !emb_.empty(), golden_.path().string(),
          ": rollouts need pixels, candidates and action_history");
    const i64 batch = candidates->size(0), samples = candidates->size(1),
              horizon = candidates->size(2), width = candidates->size(3);
    const i64 frames = static_cast<i64>(emb_.size()) / (batch * dim_);  // of a sequence

    const Tensor goals = golden_.goals();
    EncoderState encoder = make_encoder_state(ctx_, model_, goals.size(1), goals.size(2), batch);
    Placed<float> goal(ctx_, batch * dim_);
    const Placed<u8> pictures(ctx_, goals);
    encode(ctx_, model_, encoder,
           pictures.view<4>({goals.size(0), goals.size(1), goals.size(2), 3}),
           goal.view<2>({batch, dim_}));

    std::map<std::string, Values> computed;
    computed["goal_emb"] = goal.values();
    const Placed<float> actions(ctx_, *candidates), history_actions(ctx_, *past);
    const View<const float, 3> targets(goal.data(), {batch, samples, dim_}, {dim_, 0, 1});
    const i64 most = past->size(1) + 1;  // context frames of the longer case
    for (const i64 history : {i64{1}, most}) {
      const i64 shared = actions_are_future ? history - 1 : 0;
      const i64 total = shared + horizon + 1;
      RolloutState state = make_rollout_state(ctx_, model_,
                                              {.samples = samples,
                                               .history = history,
                                               .blocks = shared + horizon,
                                               .environments = batch});
      Values context_values;
      for (i64 b = 0; b < batch; ++b) {
        const float* sequence = emb_.data() + b * frames * dim_;
        append(context_values, {sequence, static_cast<std::size_t>(history * dim_)});
      }
      const Placed<float> context(ctx_, context_values);
      Placed<float> latents(ctx_, batch * samples * total * dim_);
      Placed<float> last(ctx_, batch * samples * dim_);
      rollout(ctx_, model_, state,
              {.context = context.view<3>({batch, history, dim_}),
               .prefix = shared > 0 ? history_actions.view<3>({batch, shared, width})
                                    : View<const float, 3>(),
               .actions = actions.view<4>({batch, samples, horizon, width})},
              {.latents = latents.view<4>({batch, samples, total, dim_}),
               .last = last.view<3>({batch, samples, dim_})});
      const auto distances = [&](float factor) {
        Placed<float> cost(ctx_, batch * samples);
        squared_distances(ctx_, last.view<3>({batch, samples, dim_}), targets, factor,
                          cost.view<2>({batch, samples}));
        return cost.values();
      };
      const Values cost = distances(1.0f);
      append(computed[text("rollout_h", history)], latents.values());
      append(computed[text("cost_h", history)], cost);
      if (history > 1) continue;
      append(computed["cost_h1_mean_reduction"], distances(1.0f / static_cast<float>(dim_)));
      append(computed["cost_h1_plus_quarter_control_penalty"],
             with_control_penalty(cost, *candidates));
    }
    for (const auto& [name, tensor] : expected)
      compare(section, section + "/" + name, name, tensor, computed);
  }

  static Values with_control_penalty(const Values& cost, const Tensor& candidates) {
    Values result;
    const i64 numbers = candidates.numel() / static_cast<i64>(cost.size());  // of one candidate
    const float* action = candidates.data<float>();
    for (const float value : cost) {
      double penalty = 0;
      for (i64 k = 0; k < numbers; ++k, ++action) {
        penalty += static_cast<double>(*action) * static_cast<double>(*action);
      }
      result.push_back(static_cast<float>(static_cast<double>(value) + 0.25 * penalty));
    }
    return result;
  }

  static void append(Values& to, std::span<const float> from) {
    to.insert(to.end(), from.begin(), from.end());
  }

  Context& ctx_;
  GoldenFolder golden_;
  Model model_;
  i64 dim_;
  Values emb_;  // latents of the pictures at their own size, [n, D]
  std::map<std::string, Values> stages_;
};

}  // namespace

double ParityStage::multiple() const {
  if (max_abs == 0) return 0;
  return noise > 0 ? max_abs / noise : std::numeric_limits<double>::infinity();
}

bool ParityReport::ok() const {
  return !stages.empty() && std::all_of(stages.begin(), stages.end(),
                                        [](const ParityStage& stage) { return stage.ok; });
}

ParityReport run_parity(Context& ctx, const fs::path& folder, Precision precision) {
  Parity parity(ctx, folder, precision);
  parity.run();
  return parity.report;
}

GoldenScene golden_scene(const fs::path& folder) {
  const GoldenFolder golden(folder);
  // the first of several pictures
  const auto first_of = [](const Tensor& pictures) {
    const Shape& shape = pictures.shape();
    const int rank = shape.rank();
    Tensor one(DType::uint8, {shape[rank - 3], shape[rank - 2], shape[rank - 1]});
    std::memcpy(one.bytes(), pictures.bytes(), static_cast<std::size_t>(one.byte_count()));
    return one;
  };
  const Tensor* given = golden.input("pixels_u8");
  const std::optional<Tensor> pictures = given != nullptr ? std::nullopt : golden.pictures();
  check(given != nullptr || pictures.has_value(), folder.string(), " holds no pictures");
  return {weights_of(golden), first_of(given != nullptr ? *given : *pictures),
          first_of(golden.goals())};
}

}  // namespace orrery::lewm
