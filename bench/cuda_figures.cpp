#include <functional>
#include <memory>
#include <utility>

#include "base/text.h"
#include "bench/figure.h"
#include "bench/inputs.h"
#include "models/lewm/dynamics.h"
#include "models/lewm/pilot.h"
#include "models/lewm/recipe.h"
#include "plan/cem.h"
#include "plan/icem.h"
#include "train/learner.h"

namespace orrery::bench {

namespace {

constexpr i64 kBlocks = 5;          // of a plan, the published horizon
constexpr i64 kTrainingFrames = 4;  // of a training window
constexpr i64 kIcemIterations = 5;  // of the runtime that is compared with

// Models that several figures share, one a precision: made when the first of them is timed.
class Models {
 public:
  explicit Models(lewm::Config config) : config_(std::move(config)) {}
  const lewm::Config& config() const { return config_; }
  std::shared_ptr<const lewm::Model> at(Context& ctx, Precision precision) {
    auto& model = models_[static_cast<std::size_t>(precision)];
    if (!model) {
      model = std::make_shared<const lewm::Model>(ctx, lewm::seeded_weights(config_, "bench"),
                                                  precision);
    }
    return model;
  }

 private:
  lewm::Config config_;
  std::shared_ptr<const lewm::Model> models_[5];
};

using Shared = std::shared_ptr<Models>;

// values of a tensor where operations run
Block on_device(Context& ctx, const Tensor& values) {
  const auto bytes = static_cast<std::size_t>(values.byte_count());
  Block block(ctx, bytes);
  ctx.upload(block.data(), values.bytes(), bytes);
  ctx.synchronize();
  return block;
}

Block floats(Context& ctx, i64 count) {
  return Block(ctx, static_cast<std::size_t>(count) * sizeof(float));
}

View<float, 2> rows_of(Block& block, i64 rows, i64 dim) {
  return {reinterpret_cast<float*>(block.data()), {rows, dim}};
}

void check_block(Context& ctx, const char* name, const Block& block) {
  Tensor values(DType::f32, {static_cast<i64>(block.bytes() / sizeof(float))});
  ctx.download(values.data<float>(), block.data(), block.bytes());
  check_finite(name, values);
}

// Bytes of frames on the device to latents there, captured and replayed as a user in a loop would.
Figure encode_figure(const Shared& models, i64 frames, Precision precision) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      std::shared_ptr<const lewm::Model> model;
      lewm::EncoderState state;
      Block frames, latents;
      Graph graph;
    };
    const lewm::Config& config = models->config();
    const i64 side = config.encoder.image_size;
    const auto model = models->at(ctx, precision);
    auto m =
        std::make_shared<Memory>(Memory{model,
                                        lewm::make_encoder_state(ctx, *model, side, side, frames),
                                        on_device(ctx, random_bytes({frames, side, side, 3}, 1)),
                                        floats(ctx, frames * config.latent()),
                                        {}});
    const auto work = [m, &ctx, frames, side] {
      const View<const u8, 4> pixels(reinterpret_cast<const u8*>(m->frames.data()),
                                     {frames, side, side, 3});
      lewm::encode(ctx, *m->model, m->state, pixels,
                   rows_of(m->latents, frames, m->model->config().latent()));
    };
    work();
    m->graph = ctx.capture(work);
    Prepared ready;
    ready.work = encode_work(config, frames);
    ready.run = [m, &ctx] {
      ctx.replay(m->graph);
      ctx.synchronize();
    };
    ready.check = [m, &ctx] { check_block(ctx, "encode", m->latents); };
    return ready;
  };
  return {
      text("encode/", frames, "/", name_of(precision)),
      prepare,
      {{text("cuda encode ", frames, frames == 1 ? " frame " : " frames ", name_of(precision))}}};
}

Figure rollout_figure(const Shared& models, i64 environments, i64 samples, Precision precision) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      std::shared_ptr<const lewm::Model> model;
      lewm::GoalDynamics dynamics;
      Block latents, actions, cost;
      Graph graph;
    };
    const lewm::Config& config = models->config();
    const i64 latent = config.latent();
    const auto model = models->at(ctx, precision);
    auto m = std::make_shared<Memory>(Memory{
        model,
        {ctx, *model, {.environments = environments, .samples = samples, .horizon = kBlocks}},
        on_device(ctx, normal_values({environments + 1, latent}, 1)),
        on_device(ctx, normal_values({environments, samples, kBlocks, config.action.input}, 3)),
        floats(ctx, environments * samples),
        {}});
    m->dynamics.begin(environments);
    const auto latents = rows_of(m->latents, environments + 1, latent);
    for (i64 e = 0; e < environments; ++e) {
      m->dynamics.observe(e, latents.slice(0, e, e + 1), {}, latents[environments]);
    }
    const auto work = [=, &ctx] {
      const View<const float, 4> actions(reinterpret_cast<const float*>(m->actions.data()),
                                         {environments, samples, kBlocks, config.action.input});
      m->dynamics.rollout_cost(ctx, 0, actions, rows_of(m->cost, environments, samples));
    };
    work();
    m->graph = ctx.capture(work);
    Prepared ready;
    ready.work = static_cast<double>(environments) * rollout_work(config, samples, kBlocks);
    ready.run = [m, &ctx] {
      ctx.replay(m->graph);
      ctx.synchronize();
    };
    ready.check = [m, &ctx] { check_block(ctx, "rollout_cost", m->cost); };
    return ready;
  };
  const std::string batch = environments == 1 ? "" : text("x", environments, "env");
  return {text("rollout_cost/", samples, "x", kBlocks, batch, "/", name_of(precision)), prepare};
}

using MakePlanner = std::function<std::unique_ptr<Search>(Context&, const PlanSizes&, Noise&)>;

// What happens between seeing and acting: pictures of the host go to the device, frames and goals
// are encoded, then the search, and the chosen actions are brought back. Goals are encoded anew
// every time, because the peers do so; a user's would be remembered.
Figure plan_figure(const Shared& models, const std::string& name, const std::string& peer,
                   i64 environments, i64 samples, i64 iterations, Precision precision,
                   const MakePlanner& make_planner) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      std::shared_ptr<const lewm::Model> model;
      CounterNoise noise;
      std::unique_ptr<Search> planner;
      std::unique_ptr<lewm::Pilot> pilot;
      Tensor frames, goals, actions;
    };
    const lewm::Config& config = models->config();
    const i64 side = config.encoder.image_size;
    const auto m = std::make_shared<Memory>(
        Memory{models->at(ctx, precision), CounterNoise(1), nullptr, nullptr,
               random_bytes({environments, 1, side, side, 3}, 1),
               random_bytes({environments, side, side, 3}, 2),
               Tensor(DType::f32, {environments, kBlocks, config.action.input})});
    m->planner = make_planner(
        ctx, {.environments = environments, .horizon = kBlocks, .action_dim = config.action.input},
        m->noise);
    m->pilot = std::make_unique<lewm::Pilot>(
        ctx, *m->model, *m->planner,
        lewm::Pilot::Sizes{
            .environments = environments, .history = 1, .height = side, .width = side});
    const auto run = [m] {
      m->pilot->set_goals(0, std::as_const(m->goals).view<u8, 4>());
      m->pilot->plan({.frames = std::as_const(m->frames).view<u8, 5>()}, {},
                     {.actions = m->actions.view<float, 3>()});
    };
    run();  // the second plan is the one that is captured
    Prepared ready;
    ready.work =
        static_cast<double>(environments) * plan_work(config, samples, iterations, kBlocks);
    ready.run = run;
    ready.check = [m] { check_finite("plan", m->actions); };
    return ready;
  };
  return {text("plan/", name, "/", name_of(precision)),
          prepare,
          {{text("cuda plan ", peer, " ", name_of(precision))}}};
}

// Windows that are there already: what reading them costs is a figure of its own.
class Ready final : public train::BatchSource {
 public:
  Ready(const lewm::Config& config, i64 windows)
      : pixels_(random_bytes(
            {windows, kTrainingFrames, config.encoder.image_size, config.encoder.image_size, 3},
            1)),
        actions_(normal_values({windows, kTrainingFrames, config.action.input}, 2)) {}
  i64 training_windows() const override { return pixels_.size(0); }
  i64 validation_windows() const override { return 0; }
  train::Batch training_batch(i64) override {
    return {std::as_const(pixels_).view<u8, 5>(), std::as_const(actions_).view<float, 3>(), {}};
  }
  train::Batch validation_batch(i64) override { return training_batch(0); }

 private:
  Tensor pixels_, actions_;
};

// An optimiser step as `orrery train` takes it: captured work, the next batch's pixels sent to the
// device meanwhile, the report read by the host.
Figure train_figure(const lewm::Config& config, i64 windows, Precision precision) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      Memory(Context& where, const lewm::Config& model, i64 batch, Precision products)
          : source(model, batch),
            settings(settings_of(model, batch, products)),
            learner(where, model, settings, alone) {}
      static train::TrainingSettings settings_of(lewm::Config model, i64 batch,
                                                 Precision products) {
        train::TrainingSettings chosen;
        chosen.batch = batch;
        chosen.precision = products;
        chosen.steps = i64{1} << 30;  // one batch is always sent ahead
        train::settle(chosen, model);
        return chosen;
      }
      Ready source;
      train::TrainingSettings settings;
      train::Ranks alone;
      train::Learner learner;
      train::StepReport report = {};
    };
    auto m = std::make_shared<Memory>(ctx, config, windows, precision);
    m->learner.begin(m->source);
    // two steps that are asked for plainly, one for each place of the pixels, two that are captured
    for (int i = 0; i < 4; ++i) m->report = m->learner.step(m->source);
    Prepared ready;
    ready.work = training_work(config, windows, kTrainingFrames, m->settings.losses.projections);
    ready.run = [m] { m->report = m->learner.step(m->source); };
    ready.check = [m] {
      check(m->report.finite, "bench: train_step gives the loss ", m->report.losses.total);
    };
    return ready;
  };
  return {text("train_step/", windows, "/", name_of(precision)),
          prepare,
          {{text("cuda train ", windows, " windows ", name_of(precision))}}};
}

}  // namespace

std::vector<Figure> cuda_figures(const CudaSizes& sizes) {
  const auto models = std::make_shared<Models>(sizes.config);
  const i64 environments = sizes.environments;
  const MakePlanner icem = [sizes](Context& ctx, const PlanSizes& plan, Noise& noise) {
    IcemConfig config{.samples = sizes.icem_samples, .elites = 30, .iterations = kIcemIterations};
    config.batch_size = 0;
    return std::make_unique<Icem>(ctx, config, plan, noise);
  };
  const MakePlanner cem = [sizes](Context& ctx, const PlanSizes& plan, Noise& noise) {
    CemConfig config{
        .samples = sizes.cem_samples, .elites = 30, .iterations = sizes.cem_iterations};
    config.batch_size = 0;
    return std::make_unique<Cem>(ctx, config, plan, noise);
  };
  const std::string cem_name = text(sizes.cem_samples, "x", sizes.cem_iterations);
  const std::string icem_name = text(sizes.icem_samples, "x", kIcemIterations);

  std::vector<Figure> figures;
  for (const Precision precision :
       {Precision::f32, Precision::tf32, Precision::bf16, Precision::int8, Precision::fp8}) {
    figures.push_back(encode_figure(models, 1, precision));
    figures.push_back(encode_figure(models, sizes.frames, precision));
  }
  // int8 and fp8 stand for bf16 in the predictor
  for (const Precision precision : {Precision::f32, Precision::tf32, Precision::bf16}) {
    figures.push_back(rollout_figure(models, 1, sizes.icem_samples, precision));
    figures.push_back(rollout_figure(models, environments, sizes.cem_samples, precision));
    figures.push_back(plan_figure(models, "icem" + icem_name, "icem " + icem_name, 1,
                                  sizes.icem_samples, kIcemIterations, precision, icem));
    figures.push_back(plan_figure(models, "cem" + cem_name, "cem " + cem_name, 1, sizes.cem_samples,
                                  sizes.cem_iterations, precision, cem));
    figures.push_back(plan_figure(models, text("cem", cem_name, "x", environments, "env"),
                                  text("cem ", cem_name, " ", environments, " environments"),
                                  environments, sizes.cem_samples, sizes.cem_iterations, precision,
                                  cem));
  }
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    figures.push_back(train_figure(sizes.config, sizes.windows, precision));
  }
  return figures;
}

}  // namespace orrery::bench
