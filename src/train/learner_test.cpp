#include "train/learner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "models/lewm/initialize.h"
#include "train/schedule.h"
#include "train/small_run.h"

namespace orrery::train {
namespace {

TEST(Learner, AccumulatesTheGradientsOfSmallerBatches) {
  // one step over two batches: the mean of both gradients, by hand
  TrainingSettings settings = small_settings();
  settings.accumulate = 2;
  settings.warmup_fraction = 0.0;
  Context ctx({.threads = 1});
  Drawn source(settings.batch);
  Ranks alone;
  Learner learner(ctx, small_config(), settings, alone);
  learner.begin(source);
  const StepReport report = learner.step(source);
  EXPECT_EQ(report.batches, 2);

  lewm::Weights weights(small_config());
  lewm::initialize(weights, settings.seed);
  lewm::TrainingState state(small_config(), settings.batch, settings.num_steps);
  LossState losses(settings.losses, LossSizes(state));
  Optimiser optimiser(weights);
  const StepSettings plain{.losses = settings.losses};
  std::vector<double> mean(static_cast<std::size_t>(weights.parameters.numel()));
  double total = 0;
  for (i64 i = 0; i < 2; ++i) {
    StepReport part;
    begin_gradient(ctx, optimiser);
    draw_directions(settings.seed, i + 1, losses.directions());
    add_gradient(ctx, plain, {.dropout_seed = settings.seed, .step = static_cast<u64>(i)},
                 source.training_batch(i), weights, state, losses, optimiser, part);
    total += part.losses.total / 2;
    for (std::size_t k = 0; k < mean.size(); ++k) {
      mean[k] += static_cast<double>(optimiser.gradient.data<float>()[k]) / 2;
    }
  }
  double squares = 0;
  for (const double g : mean) squares += g * g;
  // f32 gradients of a norm near 1, added once
  EXPECT_NEAR(report.gradient_norm, std::sqrt(squares), 1e-6 * std::sqrt(squares));
  EXPECT_NEAR(report.losses.total, total, 1e-12 * total);
}

std::vector<float> values_of(const Tensor& tensor) {
  const auto span = tensor.span<float>();
  return {span.begin(), span.end()};
}

TEST(Learner, SettlesStatisticsAndLearnsAsIfItHadNot) {
  TrainingSettings settings = small_settings();
  settings.warmup_fraction = 0.0;
  Context ctx({.threads = 1});
  Drawn source(settings.batch);
  Ranks alone;
  Learner plain(ctx, small_config(), settings, alone);
  TrainingSettings settled_settings = settings;
  settled_settings.settle_batches = 60;
  Learner settled(ctx, small_config(), settled_settings, alone);
  for (Learner* learner : {&plain, &settled}) {
    learner->begin(source);
    for (int i = 0; i < 3; ++i) learner->step(source);
  }
  settled.settle(source);
  EXPECT_EQ(values_of(settled.weights().parameters), values_of(plain.weights().parameters));
  EXPECT_NE(values_of(settled.weights().buffers), values_of(plain.weights().buffers));

  // 60 batches forget the running statistics they began with to 0.9^60 = 0.2 %: shown 60 times once
  // more they say about the same, where three steps have moved the plain ones by 27 %
  lewm::TrainingState state(small_config(), settings.batch, settings.num_steps);
  lewm::Weights again(small_config());
  std::copy_n(plain.weights().parameters.bytes(), plain.weights().parameters.byte_count(),
              again.parameters.bytes());
  for (i64 i = 0; i < 60; ++i) {
    const Batch batch = source.training_batch(std::max<i64>(0, 3 - 60 + i));
    lewm::forward(ctx, again, state, {.dropout_seed = settings.seed}, batch.pixels, batch.actions);
  }
  const auto expected = values_of(again.buffers), found = values_of(settled.weights().buffers);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(found[i], expected[i], 0.02 * (1.0 + std::abs(expected[i]))) << i;
  }

  plain.step(source);
  settled.step(source);
  EXPECT_EQ(values_of(settled.weights().parameters), values_of(plain.weights().parameters));
  EXPECT_EQ(values_of(settled.weights().buffers), values_of(plain.weights().buffers));
}

TEST(Learner, TheAverageFollowsTheWeights) {
  TrainingSettings settings = small_settings();
  settings.ema_decay = 0.5;
  Context ctx({.threads = 2});
  Drawn source(settings.batch);
  Ranks alone;
  Learner learner(ctx, small_config(), settings, alone);
  learner.begin(source);
  auto parameters = values_of(learner.weights().parameters);
  auto buffers = values_of(learner.weights().buffers);
  for (int t = 1; t <= 10; ++t) {
    learner.step(source);
    // (1 + t) / (10 + t) is below 0.5 until t = 8
    const auto share = static_cast<float>(1.0 - std::min(0.5, (1.0 + t) / (10.0 + t)));
    const auto towards = [share](std::vector<float>& average, const Tensor& now) {
      for (std::size_t i = 0; i < average.size(); ++i) {
        average[i] += share * (now.data<float>()[i] - average[i]);
      }
    };
    towards(parameters, learner.weights().parameters);
    towards(buffers, learner.weights().buffers);
  }
  EXPECT_EQ(values_of(learner.average()->parameters), parameters);
  EXPECT_EQ(values_of(learner.average()->buffers), buffers);
  EXPECT_EQ(&learner.judged(), learner.average());
  EXPECT_NE(values_of(learner.weights().parameters), parameters);

  // and it goes through a checkpoint
  Learner other(ctx, small_config(), settings, alone);
  other.restore(learner.contents(), "test");
  learner.step(source);
  other.step(source);
  EXPECT_EQ(values_of(other.average()->parameters), values_of(learner.average()->parameters));
  EXPECT_EQ(values_of(other.weights().parameters), values_of(learner.weights().parameters));
}

TEST(Learner, GroupsHoldForTheTensorsTheyName) {
  TrainingSettings settings = small_settings();
  settings.warmup_fraction = 0.0;
  settings.weight_decay = 0.1;
  settings.groups = {{"encoder\\.", 0.0, std::nullopt}, {".*(bias|norm.*)$", 2.0, 0.0}};
  const lewm::Config config = small_config();
  Context ctx({.threads = 1});
  Drawn source(settings.batch);
  Ranks alone;
  Learner learner(ctx, config, settings, alone);
  learner.begin(source);
  learner.step(source);  // the first has learning rate 0
  const auto before = values_of(learner.weights().parameters);
  learner.step(source);
  const TensorMap then = learner.contents();

  // the second step from its own moments, tensor by tensor
  const double lr = Schedule{settings.lr, 1, settings.steps}.learning_rate(1);
  // as they are kept, in f32
  const auto beta1 = static_cast<double>(0.9f), beta2 = static_cast<double>(0.999f);
  i64 frozen = 0, plain = 0, special = 0;
  for (const lewm::TensorSpec& spec : lewm::layout_of(config).specs) {
    if (!spec.trained) continue;
    const bool encoder = spec.name.rfind("encoder.", 0) == 0;
    const std::string tail = spec.name.substr(spec.name.rfind('.') + 1);
    const bool second = !encoder && (tail == "bias" || spec.name.find("norm") != std::string::npos);
    (encoder ? frozen : second ? special : plain) += 1;
    const double scale = encoder ? 0.0 : second ? 2.0 : 1.0;
    const double decay = second ? 0.0 : 0.1;
    for (i64 i = spec.offset; i < spec.offset + spec.shape.numel(); ++i) {
      const double m = then.at("m").data<float>()[i], v = then.at("v").data<float>()[i];
      const double step =
          lr * scale * (m / (1 - beta1 * beta1) / (std::sqrt(v / (1 - beta2 * beta2)) + 1e-8));
      const double start = before[static_cast<std::size_t>(i)];
      const double expected = start * (1 - lr * scale * decay) - step;
      // a step is at most about lr; f32 gives each of its factors seven digits
      ASSERT_NEAR(then.at("parameters").data<float>()[i], expected,
                  1e-7 * std::abs(start) + 1e-5 * lr)
          << spec.name;
    }
  }
  EXPECT_GT(frozen, 0);
  EXPECT_GT(plain, 0);
  EXPECT_GT(special, 0);
}

std::string message_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(Groups, SayWhatIsWrong) {
  const auto of = [](const char* given) {
    return message_of([&] {
      stretches_of(groups_from_json(nlohmann::json::parse(given), "c: training.groups"),
                   small_config(), 0.1);
    });
  };
  EXPECT_EQ(of(R"([{"match": "encoder"}])"), "");
  EXPECT_EQ(of("{}"), "c: training.groups is object, a list was needed");
  EXPECT_EQ(of("[{}]"), "c: training.groups[0] has no match");
  EXPECT_EQ(of(R"([{"match": "a", "lr": 1}])"),
            "c: training.groups[0].lr is unknown; match, lr_scale and weight_decay were expected");
  EXPECT_THAT(of(R"([{"match": "a", "lr_scale": -1}])"),
              testing::HasSubstr("training.groups[0].lr_scale is -1"));
  EXPECT_THAT(of(R"([{"match": "("}])"), testing::HasSubstr("\"(\" is no regular expression"));
  EXPECT_EQ(of(R"([{"match": "decoder"}])"), "training.groups: no tensor is left for \"decoder\"");
  EXPECT_EQ(of(R"([{"match": "pred"}, {"match": "predictor"}])"),
            "training.groups: no tensor is left for \"predictor\"");
}

TEST(Groups, ReadBackAsWritten) {
  TrainingSettings settings;
  settings.groups = {{"a", 0.5, std::nullopt}, {"b", 1.0, 0.25}};
  const auto node = json_from_settings(settings);
  EXPECT_EQ(json_from_settings(settings_from_json(node, "test")), node);
  EXPECT_EQ(node.at("groups")[1].at("weight_decay"), 0.25);
  EXPECT_FALSE(node.at("groups")[0].contains("weight_decay"));
}

}  // namespace
}  // namespace orrery::train
