#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "io/json.h"
#include "models/lewm/dynamics.h"
#include "models/lewm/recipe.h"
#include "models/lewm/statistics.h"

namespace orrery::lewm {
namespace {

// widths that all differ, so that a mixed-up dimension cannot go unseen
Config small_config() {
  Config config;
  config.encoder = {.image_size = 28, .patch = 7, .hidden = 24, .layers = 3, .heads = 3, .mlp = 40};
  config.projector = {.input = 24, .hidden = 36, .output = 20};
  config.predictor = {.window = 3,
                      .input = 20,
                      .hidden = 28,
                      .output = 22,
                      .depth = 2,
                      .heads = 3,
                      .head_dim = 8,
                      .mlp = 44};
  config.pred_proj = {.input = 22, .hidden = 30, .output = 20};
  config.action = {.input = 6, .smoothed = 5, .output = 20, .mlp_scale = 2};
  return config;
}

Tensor normals(Shape shape, u64 seed) {
  Tensor tensor(DType::f32, shape);
  fill_normal(seed, 0, 0, tensor.numel(), tensor.data<float>());
  return tensor;
}

double max_difference(const Tensor& a, const Tensor& b) {
  double worst = 0;
  for (i64 i = 0; i < a.numel(); ++i) {
    const double d =
        std::abs(static_cast<double>(a.data<float>()[i]) - static_cast<double>(b.data<float>()[i]));
    if (!(d <= worst)) worst = d;
  }
  return worst;
}

TEST(Rollout, EqualsPredictingWindowAfterWindow) {
  Context ctx({.threads = 2});
  const Model model(ctx, seeded_weights(small_config(), "rollout"));
  const i64 dim = 20, samples = 7;
  for (const i64 history : {1, 2, 3, 5}) {
    for (const bool future : {true, false}) {
      const i64 shared = future ? history - 1 : 0;
      const i64 horizon = 6;
      const i64 blocks = shared + horizon, steps = blocks - history + 1;
      const Tensor context = normals({history, dim}, 1),
                   actions = normals({samples, horizon, 6}, 2);
      const Tensor prefix = normals({std::max<i64>(shared, 1), 6}, 3);
      RolloutState state = make_rollout_state(
          ctx, model, {.samples = samples, .history = history, .blocks = blocks});
      Tensor latents(DType::f32, {samples, history + steps, dim});
      const auto sequence = [](const Tensor& rows) {
        return View<const float, 3>(rows.data<float>(), {1, rows.size(0), rows.size(1)});
      };
      rollout(
          ctx, model, state,
          {.context = sequence(context),
           .prefix = shared ? sequence(prefix) : View<const float, 3>(),
           .actions = View<const float, 4>(actions.data<float>(), {1, samples, horizon, 6})},
          {.latents = View<float, 4>(latents.data<float>(), {1, samples, history + steps, dim})});

      // the plain way: every window as a whole, its last prediction appended
      RolloutState plain =
          make_rollout_state(ctx, model, {.samples = samples, .history = 1, .blocks = 3});
      Tensor expected(DType::f32, {samples, history + steps, dim});
      auto z = expected.view<float, 3>();
      for (i64 s = 0; s < samples; ++s) {
        for (i64 t = 0; t < history; ++t) {
          std::memcpy(&z(s, t, 0), &context.view<float, 2>()(t, 0), sizeof(float) * dim);
        }
      }
      for (i64 t = 0; t < steps; ++t) {
        const i64 end = history + t, window = std::min<i64>(3, end), left = end - window;
        Tensor frames(DType::f32, {samples, window, dim}), acts(DType::f32, {samples, window, 6});
        Tensor pred(DType::f32, {samples, window, dim});
        for (i64 s = 0; s < samples; ++s) {
          for (i64 k = 0; k < window; ++k) {
            std::memcpy(&frames.view<float, 3>()(s, k, 0), &z(s, left + k, 0), sizeof(float) * dim);
            const i64 block = left + k;
            const float* from = block < shared ? &prefix.view<float, 2>()(block, 0)
                                               : &actions.view<float, 3>()(s, block - shared, 0);
            std::memcpy(&acts.view<float, 3>()(s, k, 0), from, sizeof(float) * 6);
          }
        }
        predict(ctx, model, plain, frames.view<float, 3>(), acts.view<float, 3>(),
                pred.view<float, 3>());
        for (i64 s = 0; s < samples; ++s) {
          std::memcpy(&z(s, end, 0), &pred.view<float, 3>()(s, window - 1, 0), sizeof(float) * dim);
        }
      }
      // the same products in another order: float32 noise of values of size one over a few steps
      EXPECT_LT(max_difference(latents, expected), 2e-5)
          << "history " << history << " future " << future;
    }
  }
}

TEST(Rollout, IsSteadyForAnyNumberOfThreadsAndCandidates) {
  const i64 samples = 130;
  Tensor first;
  for (const int threads : {1, 2, 3}) {
    Context ctx({.threads = threads});
    const Model model(ctx, seeded_weights(small_config(), "steady"));
    const Tensor context = normals({1, 20}, 1), actions = normals({samples, 5, 6}, 2);
    RolloutState state =
        make_rollout_state(ctx, model, {.samples = samples, .history = 1, .blocks = 5});
    Tensor last(DType::f32, {samples, 20});
    const View<const float, 3> present(context.data<float>(), {1, 1, 20});
    const View<const float, 4> candidates(actions.data<float>(), {1, samples, 5, 6});
    rollout(ctx, model, state, {.context = present, .actions = candidates},
            {.last = View<float, 3>(last.data<float>(), {1, samples, 20})});
    if (threads == 1) first = last.clone();
    EXPECT_EQ(
        0, std::memcmp(first.bytes(), last.bytes(), static_cast<std::size_t>(last.byte_count())));
    // one candidate alone gives the same bits as among others
    Tensor alone(DType::f32, {1, 20});
    rollout(ctx, model, state, {.context = present, .actions = candidates.slice(1, 77, 78)},
            {.last = View<float, 3>(alone.data<float>(), {1, 1, 20})});
    EXPECT_EQ(0, std::memcmp(&first.view<float, 2>()(77, 0), alone.bytes(), 80));
  }
}

TEST(Encode, LeavesOutWhatOnlyAProbeSees) {
  Context ctx({.threads = 2});
  // with softmax attention in the last layer and with linear
  for (const char* pattern : {"", "LAL", "ALA"}) {
    Config config = small_config();
    config.encoder.pattern = pattern;
    config.encoder.meta_tokens = config.encoder.hybrid() ? 2 : 0;
    const Model model(ctx, seeded_weights(config, "encode"));
    Tensor frames(DType::uint8, {5, 35, 28, 3});
    for (i64 i = 0; i < frames.numel(); ++i)
      frames.data<u8>()[i] = static_cast<u8>(philox(1, 2, static_cast<u64>(i))[0]);
    EncoderState state = make_encoder_state(ctx, model, 35, 28, 5);
    Tensor quick(DType::f32, {5, 20}), whole(DType::f32, {5, 20});
    encode(ctx, model, state, frames.view<u8, 4>(), quick.view<float, 2>());
    i64 seen = 0;
    const Probe probe = [&](const char*, i64, View<const float, 2>) { ++seen; };
    encode(ctx, model, state, frames.view<u8, 4>(), whole.view<float, 2>(), &probe);
    EXPECT_GE(seen, 7);
    EXPECT_LT(max_difference(quick, whole), 2e-5) << pattern;
  }
}

TEST(Weights, RoundTripUnderBothVocabularies) {
  const Config config = small_config();
  const Weights weights = seeded_weights(config, "names");
  TensorMap tensors = tensors_from_weights(weights);
  TensorMap renamed;
  for (auto& [name, tensor] : tensors) {
    std::string other = name;
    const auto swap = [&](const std::string& from, const std::string& to) {
      const auto at = other.find(from);
      if (at != std::string::npos) other.replace(at, from.size(), to);
    };
    if (other.rfind("encoder.encoder.layer.", 0) == 0) {
      swap("attention.attention.query", "attention.q_proj");
      swap("attention.attention.key", "attention.k_proj");
      swap("attention.attention.value", "attention.v_proj");
      swap("attention.output.dense", "attention.o_proj");
      swap("intermediate.dense", "mlp.fc1");
      swap(".output.dense", ".mlp.fc2");
      swap("encoder.encoder.layer.", "encoder.layers.");
    }
    renamed.emplace("model." + other, tensor.clone());
  }
  const Weights again = weights_from_tensors(config, renamed, "test");
  EXPECT_EQ(0, std::memcmp(weights.parameters.bytes(), again.parameters.bytes(),
                           static_cast<std::size_t>(weights.parameters.byte_count())));
  EXPECT_EQ(0, std::memcmp(weights.buffers.bytes(), again.buffers.bytes(),
                           static_cast<std::size_t>(weights.buffers.byte_count())));
}

TEST(Weights, NamesEverythingThatDoesNotFit) {
  const Config config = small_config();
  TensorMap tensors = tensors_from_weights(seeded_weights(config, "names"));
  tensors.erase("encoder.layernorm.bias");
  tensors.erase("predictor.pos_embedding");
  tensors["projector.net.0.bias"] = Tensor::zeros<float>({3});
  tensors["extra"] = Tensor::zeros<float>({1});
  try {
    weights_from_tensors(config, tensors, "w.safetensors");
    FAIL() << "loaded";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "w.safetensors does not fit its configuration: missing encoder.layernorm.bias "
                 "(24); missing "
                 "predictor.pos_embedding (1, 3, 20); projector.net.0.bias has shape (3), needed "
                 "(36); unexpected "
                 "extra (1)");
  }
}

TEST(Statistics, ComeBackFromTheirFile) {
  const auto path =
      std::filesystem::path(testing::TempDir()) / text("orrery-statistics-", ::getpid(), ".json");
  Statistics statistics{.action_mean = {0.1, -2}, .action_std = {1, 0.3}, .frameskip = 4};
  statistics.pixel_mean = {0.1, 0.2, 0.3};
  statistics.pixel_std = {1, 2, 3};
  for (const char* environment : {"", "pusht"}) {  // older files have none
    statistics.environment = environment;
    write_json(path, json_from_statistics(statistics));
    const Statistics back = read_statistics(path);
    EXPECT_EQ(back.action_mean, statistics.action_mean);
    EXPECT_EQ(back.action_std, statistics.action_std);
    EXPECT_EQ(back.pixel_mean, statistics.pixel_mean);
    EXPECT_EQ(back.frameskip, 4);
    EXPECT_EQ(back.environment, environment);
  }
  nlohmann::json damaged = json_from_statistics(statistics);
  damaged["environment"] = 7;
  write_json(path, damaged);
  EXPECT_THROW(read_statistics(path), Error);
  std::filesystem::remove(path);
}

TEST(GoalDynamics, CostIsTheSquaredDistanceOfWhatIsImagined) {
  Context ctx({.threads = 2});
  const Model model(ctx, seeded_weights(small_config(), "goal"));
  GoalDynamics dynamics(ctx, model, {.environments = 2, .samples = 9, .horizon = 4, .history = 2});
  const Tensor contexts = normals({2, 2, 20}, 1), prefixes = normals({2, 1, 6}, 2),
               goals = normals({2, 20}, 3);
  dynamics.begin(2);
  for (i64 e = 0; e < 2; ++e) {
    dynamics.observe(e, contexts.view<float, 3>()[e], prefixes.view<float, 3>()[e],
                     goals.view<float, 2>()[e]);
  }
  const Tensor actions = normals({2, 9, 4, 6}, 4);
  Tensor cost(DType::f32, {2, 9}), imagined(DType::f32, {6, 20});
  dynamics.rollout_cost(ctx, 0, actions.view<float, 4>(), cost.view<float, 2>());
  for (i64 e = 0; e < 2; ++e) {
    dynamics.imagine(ctx, e, actions.view<float, 4>()[e][5], imagined.view<float, 2>());
    double expected = 0;
    for (i64 d = 0; d < 20; ++d) {
      const double difference = static_cast<double>(imagined.view<float, 2>()(5, d)) -
                                static_cast<double>(goals.view<float, 2>()(e, d));
      expected += difference * difference;
    }
    EXPECT_NEAR(static_cast<double>(cost.view<float, 2>()(e, 5)), expected, 1e-5 * expected + 1e-6);
  }
}

}  // namespace
}  // namespace orrery::lewm
