#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "io/json.h"
#include "io/safetensors.h"
#include "io/torch_file.h"
#include "models/lewm/weights.h"
#include "ops/gradient_clip.h"
#include "ops/strided.h"
#include "ops/test_support.h"
#include "tests/golden/shared.h"
#include "train/schedule.h"
#include "train/step.h"
#include "train/working.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

fs::path folder() { return shared_folder() / "golden" / "lewm" / "train"; }

// ten times the float32 noise of the official program (the folder's README), and no less than the
// rounding of the expected values to f32
double tolerance_of(const nlohmann::json& entry) {
  return std::max(10 * entry.at("max_abs_diff_f32").get<double>(),
                  std::ldexp(entry.at("max_abs_value").get<double>(), -23));
}

double worst_difference(const float* values, const float* expected, i64 count) {
  double worst = 0;
  for (i64 i = 0; i < count; ++i) {
    const double difference = std::abs(static_cast<double>(values[i]) - expected[i]);
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

double norm_of(const float* values, i64 count) {
  double sum = 0;
  for (i64 i = 0; i < count; ++i) sum += static_cast<double>(values[i]) * values[i];
  return std::sqrt(sum);
}

// "*.key.bias" or a whole name
bool matches(const std::string& pattern, const std::string& name) {
  if (pattern.empty() || pattern[0] != '*') return pattern == name;
  const std::string end = pattern.substr(1);
  return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

// Everything of the folder, and one run of it by our own training step.
class GoldenTraining {
 public:
  explicit GoldenTraining(const std::string& run, const Context::Options& where = {})
      : ctx_(where),
        settings_(read_json(folder() / "settings.json")),
        inputs_(read_safetensors(folder() / "inputs.safetensors")),
        config_(lewm::read_config(folder() / "config.json")),
        weights_(lewm::load_model(start_file())),
        pixels_(inputs_.at("pixels_u8")),
        actions_(inputs_.at("action")) {
    weights_.config = config_;  // the start has another dropout rate
    const auto& chosen = settings_.at("settings").at(run);
    step_.adamw.beta1 = settings_.at("betas")[0].get<float>();
    step_.adamw.beta2 = settings_.at("betas")[1].get<float>();
    step_.adamw.eps = settings_.at("eps").get<float>();
    step_.adamw.weight_decay = chosen.at("weight_decay").get<float>();
    step_.clip = settings_.at("clip_global_norm").get<double>();
    const auto& sigreg = settings_.at("sigreg");
    step_.losses.knots = sigreg.at("knots").get<int>();
    step_.losses.projections = sigreg.at("num_proj").get<i64>();
    step_.losses.weights.sigreg = sigreg.at("weight").get<double>();
    const auto& schedule = settings_.at("schedule");
    schedule_ = {chosen.at("lr").get<double>(), schedule.at("warmup_steps").get<i64>(),
                 schedule.at("max_steps").get<i64>()};
    for (const auto& spec : lewm::layout_of(config_).specs) specs_.emplace(spec.name, spec);
    working_.write([&](lewm::Weights& weights) {
      std::copy_n(weights_.parameters.bytes(), weights_.parameters.byte_count(),
                  weights.parameters.bytes());
      std::copy_n(weights_.buffers.bytes(), weights_.buffers.byte_count(), weights.buffers.bytes());
      weights.batches_tracked = weights_.batches_tracked;
    });
    gradient_.settle_on(ctx_, optimiser_.gradient);
    m_.settle_on(ctx_, optimiser_.m);
    v_.settle_on(ctx_, optimiser_.v);
  }

  i64 steps() const { return settings_.at("steps").get<i64>(); }
  const nlohmann::json& settings() const { return settings_; }
  const lewm::Weights& weights() const { return weights_; }
  double learning_rate(i64 step) const { return schedule_.learning_rate(step); }
  const float* gradient(const std::string& name) const {
    return optimiser_.gradient.data<float>() + specs_.at(name).offset;
  }
  const float* value(const std::string& name) const {
    const auto& spec = specs_.at(name);
    return (spec.trained ? weights_.parameters : weights_.buffers).data<float>() + spec.offset;
  }
  i64 count(const std::string& name) const { return specs_.at(name).shape.numel(); }
  const train::Optimiser& optimiser() const { return optimiser_; }
  i64 offset(const std::string& name) const { return specs_.at(name).offset; }
  std::vector<float> emb() { return host(state_.emb()); }
  std::vector<float> pred() { return host(state_.pred()); }

  train::StepReport step(i64 index) {
    step_.adamw.lr = static_cast<float>(learning_rate(index));
    const auto directions = inputs_.at("projection_raw").view<float, 3>()[index];
    ctx_.upload(losses_.directions().data(), directions.data(),
                static_cast<std::size_t>(directions.numel()) * sizeof(float));
    const auto pixels = pixels_.view<u8, 6>()[index];
    const auto actions = actions_.view<float, 4>()[index];
    if (ctx_.device() == Device::cuda) return step_on_device(index, pixels, actions);
    return train::train_step(ctx_, step_, {.step = static_cast<u64>(index)}, {pixels, actions},
                             weights_, state_, losses_, optimiser_);
  }

 private:
  std::vector<float> host(View<const float, 3> there) {
    std::vector<float> here(static_cast<std::size_t>(there.numel()));
    ctx_.download(here.data(), there.data(), here.size() * sizeof(float));
    return here;
  }

  // the same on a device, of which the host then gets what the tests look at
  train::StepReport step_on_device(i64 index, View<const u8, 5> pixels,
                                   View<const float, 3> actions) {
    Placed<u8> pixels_there(ctx_, {pixels.data(), static_cast<std::size_t>(pixels.numel())});
    Placed<float> actions_there(ctx_, {actions.data(), static_cast<std::size_t>(actions.numel())});
    const View<float, 1> gradient = gradient_.view(optimiser_.gradient);
    fill(ctx_, 0.0f, gradient);
    lewm::forward(ctx_, config_, working_.tensors(), state_, {.step = static_cast<u64>(index)},
                  pixels_there.view<5>(pixels.sizes()), actions_there.view<3>(actions.sizes()));
    train::StepReport report;
    report.losses = losses(ctx_, step_.losses,
                           {.emb = state_.emb(),
                            .pred = state_.pred(),
                            .rolled = state_.rolled(),
                            .actions = actions_there.view<3>(actions.sizes())},
                           losses_);
    lewm::backward(ctx_, config_, working_.tensors(), state_, losses_.gradient(),
                   lewm::bind(config_, gradient.data(), nullptr));
    Placed<double> clipped(ctx_, 2);
    gradient_clip(ctx_, gradient, 1.0, step_.clip, losses_.total(), clipped.view<1>({2}));
    Placed<AdamWStretch> stretches(
        ctx_, adamw_stretches(step_.adamw, {}, ++optimiser_.steps, gradient.numel()));
    adamw_step(ctx_, stretches.view<1>({1}), clipped.view<1>({2}), gradient, working_.parameters(),
               m_.view(optimiser_.m), v_.view(optimiser_.v));
    report.gradient_norm = clipped.values()[0];
    ++working_.batches_tracked();
    working_.touch();
    weights_.batches_tracked = working_.batches_tracked();
    const lewm::Weights& now = working_.read();
    std::copy_n(now.parameters.bytes(), now.parameters.byte_count(), weights_.parameters.bytes());
    std::copy_n(now.buffers.bytes(), now.buffers.byte_count(), weights_.buffers.bytes());
    gradient_.pull(optimiser_.gradient);
    m_.pull(optimiser_.m);
    v_.pull(optimiser_.v);
    return report;
  }

  fs::path start_file() const {
    return folder() / settings_.at("start_weights").get<std::string>();
  }

  Context ctx_;
  nlohmann::json settings_;
  TensorMap inputs_;
  lewm::Config config_;
  lewm::Weights weights_;
  const Tensor& pixels_;
  const Tensor& actions_;
  train::StepSettings step_;
  train::Schedule schedule_;
  std::map<std::string, lewm::TensorSpec> specs_;
  lewm::TrainingState state_{ctx_, config_, pixels_.size(1), pixels_.size(2)};
  train::LossState losses_{ctx_,
                           {.projections = inputs_.at("projection_raw").size(2)},
                           {pixels_.size(1), pixels_.size(2), config_.latent()}};
  train::Optimiser optimiser_{weights_};
  train::WorkingWeights working_{ctx_, config_};
  train::Working gradient_, m_, v_;
};

void expect_first_step(const Context::Options& where) {
  GoldenTraining run("official", where);
  run.step(0);
  const TensorMap expected = read_safetensors(folder() / "step0.safetensors");
  const auto tolerance = read_json(folder() / "tolerance.json").at("step0");
  ASSERT_GT(expected.size(), 2u);
  const std::vector<float> emb = run.emb(), pred = run.pred();
  for (const auto& [name, tensor] : expected) {
    const bool gradient = name.rfind("grad.", 0) == 0;
    const float* values = gradient        ? run.gradient(name.substr(5))
                          : name == "emb" ? emb.data()
                                          : pred.data();
    const double worst = worst_difference(values, tensor.data<float>(), tensor.numel());
    EXPECT_LE(worst, tolerance_of(tolerance.at(name))) << name;
  }
}

TEST(GoldenTrain, GradientsOfTheFirstStep) {
  ORRERY_NEEDS_SHARED(folder());
  expect_first_step({});
}

TEST(CudaGoldenTrain, GradientsOfTheFirstStep) {
  ORRERY_NEEDS_CUDA;
  ORRERY_NEEDS_SHARED(folder());
  expect_first_step(test::on_cuda());
}

void expect_trace(const std::string& name, const Context::Options& where = {}) {
  GoldenTraining run(name, where);
  const TensorMap trace = read_safetensors(folder() / ("trace_" + name + ".safetensors"));
  const auto all = read_json(folder() / "tolerance.json").at(name);
  const auto& tolerance = all.at("trace");
  const auto names = read_json(folder() / "names.json").get<std::vector<std::string>>();

  for (i64 step = 0; step < run.steps(); ++step) {
    SCOPED_TRACE(testing::Message() << "step " << step);
    const auto expect_value = [&](const char* key, double value) {
      EXPECT_NEAR(value, static_cast<double>(trace.at(key).data<float>()[step]),
                  tolerance_of(tolerance.at(key)))
          << key;
    };
    expect_value("lr", run.learning_rate(step));
    EXPECT_NEAR(
        run.learning_rate(step),
        run.settings().at("lr_per_step").at(name)[static_cast<std::size_t>(step)].get<double>(),
        1e-18);  // double against double: one part in 10^14 of the largest
    const train::StepReport report = run.step(step);
    ASSERT_TRUE(report.finite);
    expect_value("pred_loss", report.losses.prediction);
    expect_value("sigreg_loss", report.losses.sigreg);
    expect_value("loss", report.losses.total);
    expect_value("grad_norm", report.gradient_norm);

    const auto norms = trace.at("grad_norm_per_tensor").view<float, 2>();
    for (std::size_t i = 0; i < names.size(); ++i) {
      EXPECT_NEAR(norm_of(run.gradient(names[i]), run.count(names[i])), norms(step, i),
                  tolerance_of(tolerance.at("grad_norm_per_tensor")))
          << names[i];
    }
    for (const auto& [key, tensor] : trace) {
      const i64 count = tensor.numel() / tensor.size(0);
      const float* values = nullptr;
      if (key.rfind("grad.", 0) == 0) values = run.gradient(key.substr(5));
      if (key.rfind("after_step.", 0) == 0) values = run.value(key.substr(11));
      for (const char* statistic : {".running_mean", ".running_var"}) {
        if (key.find(statistic) != std::string::npos) {
          values = run.value(key.substr(0, key.find('.')) + ".net.1" + statistic);
        }
      }
      if (key.find("num_batches_tracked") != std::string::npos) {
        EXPECT_EQ(run.weights().batches_tracked, tensor.data<i64>()[step]) << key;
      }
      if (values == nullptr) continue;
      const double worst = worst_difference(values, tensor.data<float>() + step * count, count);
      EXPECT_LE(worst, tolerance_of(tolerance.at(key))) << key;
    }
  }

  // where the exact gradient is zero, AdamW makes steps of up to lr out of rounding noise
  const auto zero_gradient =
      run.settings().at("zero_gradient_tensors").get<std::vector<std::string>>();
  const TensorMap last = read_safetensors(folder() / ("final_weights_" + name + ".safetensors"));
  const double noise = all.at("final_weights").at("regular").at("max_abs_diff").get<double>();
  for (const auto& [key, tensor] : last) {
    const bool skipped = tensor.dtype() != DType::f32 ||
                         std::any_of(zero_gradient.begin(), zero_gradient.end(),
                                     [&, n = key](const auto& p) { return matches(p, n); });
    if (skipped) continue;
    const double worst = worst_difference(run.value(key), tensor.data<float>(), tensor.numel());
    EXPECT_LE(worst, 10 * noise) << key;
  }
}

TEST(GoldenTrain, FiveSteps) {
  ORRERY_NEEDS_SHARED(folder());
  const auto settings = read_json(folder() / "settings.json").at("settings");
  ASSERT_FALSE(settings.empty());
  for (const auto& [name, ignored] : settings.items()) {
    SCOPED_TRACE(name);
    expect_trace(name);
  }
}

TEST(CudaGoldenTrain, FiveSteps) {
  ORRERY_NEEDS_CUDA;
  ORRERY_NEEDS_SHARED(folder());
  expect_trace("official", test::on_cuda());
}

// The moments that Lightning saved after the same five steps: where they are put is right when they
// are those of our own run. Compared as whole tensors, since single gradients near zero are noise.
TEST(GoldenTrain, MomentsOfALightningCheckpoint) {
  const fs::path checkpoint = shared_folder() / "golden" / "lewm" / "tiny" / "lightning.ckpt";
  ORRERY_NEEDS_SHARED(checkpoint);
  GoldenTraining run("official");
  for (i64 step = 0; step < run.steps(); ++step) run.step(step);
  const auto state = read_torch_optimiser(checkpoint);
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->steps, run.steps());
  EXPECT_EQ(state->first.size(), state->second.size());
  ASSERT_GT(state->first.size(), 50u);
  const auto zero_gradient =
      run.settings().at("zero_gradient_tensors").get<std::vector<std::string>>();
  for (const auto& [given, moments] : state->first) {
    const std::string name = lewm::canonical_name(given);
    if (std::any_of(zero_gradient.begin(), zero_gradient.end(),
                    [&](const auto& pattern) { return matches(pattern, name); })) {
      continue;
    }
    const auto expect_near = [&](const Tensor& theirs, const Tensor& ours) {
      const float* values = ours.data<float>() + run.offset(name);
      double difference = 0, size = 0;
      for (i64 i = 0; i < theirs.numel(); ++i) {
        const double expected = theirs.data<float>()[i];
        difference += (values[i] - expected) * (values[i] - expected);
        size += expected * expected;
      }
      // rounding in the gradients, of which the folder's README tells 1e-5 of the norm, grows over
      // the steps; another tensor's moments differ by the whole norm
      EXPECT_LE(std::sqrt(difference), 1e-2 * std::sqrt(size)) << name;
    };
    expect_near(moments, run.optimiser().m);
    expect_near(state->second.at(given), run.optimiser().v);
  }
}

}  // namespace
}  // namespace orrery
