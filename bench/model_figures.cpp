#include <memory>
#include <utility>

#include "base/text.h"
#include "bench/figure.h"
#include "bench/inputs.h"
#include "models/lewm/dynamics.h"
#include "models/lewm/recipe.h"
#include "plan/cem.h"
#include "train/step.h"

namespace orrery::bench {

namespace {

constexpr i64 kBlocks = 5;       // of a plan, the published horizon
constexpr i64 kSamples = 300;    // candidates of an iteration
constexpr i64 kIterations = 30;  // of a plan
constexpr i64 kFrames = 4;       // of a training window

// A model that several figures share: made when the first of them is timed.
class Source {
 public:
  virtual ~Source() = default;
  virtual const lewm::Config& config() const = 0;
  virtual lewm::Weights weights() const = 0;

  const std::shared_ptr<const lewm::Model>& model(Context& ctx) {
    if (!model_) model_ = std::make_shared<const lewm::Model>(ctx, weights());
    return model_;
  }

 private:
  std::shared_ptr<const lewm::Model> model_;
};

class FullSize final : public Source {
 public:
  const lewm::Config& config() const override { return config_; }
  lewm::Weights weights() const override { return lewm::seeded_weights(config_, "bench"); }

 private:
  lewm::Config config_;  // the published model
};

class Folder final : public Source {
 public:
  explicit Folder(std::string path)
      : path_(std::move(path)),
        config_(lewm::read_config(std::filesystem::path(path_) / "config.json")) {}
  const lewm::Config& config() const override { return config_; }
  lewm::Weights weights() const override { return lewm::load_model(path_); }

 private:
  std::string path_;
  lewm::Config config_;
};

using Sourced = std::shared_ptr<Source>;

Figure encode_figure(const std::string& prefix, const Sourced& source, i64 frames) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      std::shared_ptr<const lewm::Model> model;
      lewm::EncoderState state;
      Tensor frames, latents;
    };
    const lewm::Config& config = source->config();
    const i64 side = config.encoder.image_size;
    const auto& model = source->model(ctx);
    auto m = std::make_shared<Memory>(Memory{
        model, lewm::make_encoder_state(ctx, *model, side, side, frames),
        random_bytes({frames, side, side, 3}, 1), Tensor(DType::f32, {frames, config.latent()})});
    Prepared ready;
    ready.work = encode_work(config, frames);
    ready.run = [m, &ctx] {
      lewm::encode(ctx, *m->model, m->state, m->frames.view<u8, 4>(), m->latents.view<float, 2>());
    };
    ready.check = [m] { check_finite("encode", m->latents); };
    return ready;
  };
  return {text(prefix, "encode/", frames), prepare};
}

Figure predict_figure(const std::string& prefix, const Sourced& source, i64 batch) {
  const i64 time = source->config().predictor.window;
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      std::shared_ptr<const lewm::Model> model;
      lewm::RolloutState state;
      Tensor latents, actions, pred;
    };
    const lewm::Config& config = source->config();
    const auto& model = source->model(ctx);
    auto m = std::make_shared<Memory>(Memory{
        model,
        lewm::make_rollout_state(ctx, *model, {.samples = batch, .history = 1, .blocks = time}),
        normal_values({batch, time, config.latent()}, 1),
        normal_values({batch, time, config.action.input}, 2),
        Tensor(DType::f32, {batch, time, config.latent()})});
    Prepared ready;
    ready.work = predict_work(config, batch, time);
    ready.run = [m, &ctx] {
      lewm::predict(ctx, *m->model, m->state, m->latents.view<float, 3>(),
                    m->actions.view<float, 3>(), m->pred.view<float, 3>());
    };
    ready.check = [m] { check_finite("predict", m->pred); };
    return ready;
  };
  return {text(prefix, "predict/", batch, "x", time), prepare};
}

Figure rollout_figure(const std::string& prefix, const Sourced& source, i64 samples) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      std::shared_ptr<const lewm::Model> model;
      lewm::GoalDynamics dynamics;
      Tensor context, goal, actions, cost;
    };
    const lewm::Config& config = source->config();
    const auto& model = source->model(ctx);
    auto m = std::make_shared<Memory>(
        Memory{model,
               {ctx, *model, {.environments = 1, .samples = samples, .horizon = kBlocks}},
               normal_values({1, config.latent()}, 1),
               normal_values({config.latent()}, 2),
               normal_values({1, samples, kBlocks, config.action.input}, 3),
               Tensor(DType::f32, {1, samples})});
    m->dynamics.begin(1);
    m->dynamics.observe(0, m->context.view<float, 2>(), {}, m->goal.view<float, 1>());
    Prepared ready;
    ready.work = rollout_work(config, samples, kBlocks);
    ready.run = [m, &ctx] {
      m->dynamics.rollout_cost(ctx, 0, m->actions.view<float, 4>(), m->cost.view<float, 2>());
    };
    ready.check = [m] { check_finite("rollout_cost", m->cost); };
    return ready;
  };
  return {text(prefix, "rollout_cost/", samples, "x", kBlocks), prepare};
}

// What happens between seeing and acting: frame and goal are encoded, then CEM.
Figure plan_figure(const std::string& prefix, const Sourced& source) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      std::shared_ptr<const lewm::Model> model;
      lewm::EncoderState eye;
      lewm::GoalDynamics dynamics;
      CounterNoise noise;
      std::unique_ptr<Cem> planner;
      Tensor frames, latents, actions;
    };
    const lewm::Config& config = source->config();
    const i64 side = config.encoder.image_size;
    const auto& model = source->model(ctx);
    auto m = std::make_shared<Memory>(
        Memory{model,
               lewm::make_encoder_state(ctx, *model, side, side, 1),
               {ctx, *model, {.environments = 1, .samples = kSamples, .horizon = kBlocks}},
               CounterNoise(1),
               nullptr,
               random_bytes({2, side, side, 3}, 1),
               Tensor(DType::f32, {2, config.latent()}),
               Tensor(DType::f32, {1, kBlocks, config.action.input})});
    m->planner = std::make_unique<Cem>(
        ctx, CemConfig{.samples = kSamples, .elites = 30, .iterations = kIterations},
        PlanSizes{.horizon = kBlocks, .action_dim = config.action.input}, m->noise);
    Prepared ready;
    ready.work = plan_work(config, kSamples, kIterations, kBlocks);
    ready.run = [m, &ctx] {
      const auto latents = m->latents.view<float, 2>();
      lewm::encode(ctx, *m->model, m->eye, m->frames.view<u8, 4>(), latents);
      m->dynamics.begin(1);
      m->dynamics.observe(0, latents.slice(0, 0, 1), {}, latents[1]);
      m->planner->plan(ctx, m->dynamics, {}, {.actions = m->actions.view<float, 3>()});
    };
    ready.check = [m] { check_finite("plan", m->actions); };
    return ready;
  };
  return {text(prefix, "plan/", kSamples, "x", kIterations), prepare};
}

Figure train_figure(const std::string& prefix, const Sourced& source, i64 windows,
                    Precision precision = Precision::f32) {
  const auto prepare = [=](Context& ctx) {
    const lewm::Config& config = source->config();
    const i64 side = config.encoder.image_size;
    struct Memory {
      lewm::Weights weights;
      lewm::TrainingState state;
      train::StepSettings settings;
      train::LossState losses;
      train::Optimiser optimiser;
      Tensor pixels, actions;
      train::StepReport report = {};
    };
    const train::StepSettings settings;  // the published losses
    lewm::Weights weights = source->weights();
    train::Optimiser optimiser(weights);
    auto m = std::make_shared<Memory>(
        Memory{std::move(weights), lewm::TrainingState(config, windows, kFrames, {}, precision),
               settings, train::LossState(settings.losses, {windows, kFrames, config.latent()}),
               std::move(optimiser), random_bytes({windows, kFrames, side, side, 3}, 1),
               normal_values({windows, kFrames, config.action.input}, 2)});
    Prepared ready;
    ready.work = training_work(config, windows, kFrames, settings.losses.projections);
    ready.run = [m, &ctx] {
      const u64 step = static_cast<u64>(m->optimiser.steps);
      const auto directions = m->losses.directions();
      fill_normal(1, step, 0, directions.numel(), directions.data());
      m->report = train::train_step(ctx, m->settings, {.dropout_seed = 1, .step = step},
                                    {m->pixels.view<u8, 5>(), m->actions.view<float, 3>()},
                                    m->weights, m->state, m->losses, m->optimiser);
    };
    ready.check = [m] {
      check(m->report.finite, "bench: train_step gives the loss ", m->report.losses.total);
    };
    return ready;
  };
  const char* const name = precision == Precision::bf16 ? "train_step/bf16/" : "train_step/";
  return {text(prefix, name, windows), prepare};
}

}  // namespace

std::vector<Figure> model_figures() {
  const auto source = std::make_shared<FullSize>();
  std::vector<Figure> figures;
  const auto add = [&](Figure figure, std::vector<PeerPart> peer) -> Figure& {
    figure.peer = std::move(peer);
    return figures.emplace_back(std::move(figure));
  };
  // names of peers/bench_lewm.py
  add(encode_figure("", source, 1), {{"encode 1 frame"}});
  add(encode_figure("", source, 8), {{"encode 8 frame"}});
  add(predict_figure("", source, 300), {{"predict 300x3 tokens"}});
  add(rollout_figure("", source, 128), {{"rollout cost 128 candidates x 5 blocks"}});
  add(rollout_figure("", source, 300), {{"rollout cost 300 candidates x 5 blocks"}});
  add(plan_figure("", source),
      {{"rollout cost 300 candidates x 5 blocks", kIterations}, {"encode 1 frame", 2}})
      .slow = true;
  add(train_figure("", source, 8), {{"training step 8 windows x 4 frames"}});
  add(train_figure("", source, 8, Precision::bf16), {{"training step 8 windows x 4 frames"}});
  return figures;
}

std::vector<Figure> folder_figures(const std::string& folder) {
  const auto source = std::make_shared<Folder>(folder);
  return {encode_figure("slim/", source, 1), rollout_figure("slim/", source, kSamples),
          plan_figure("slim/", source), train_figure("slim/", source, 64),
          train_figure("slim/", source, 64, Precision::bf16)};
}

}  // namespace orrery::bench
