#include "orrery/orrery.h"

#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "models/lewm/dynamics.h"
#include "models/lewm/eye.h"
#include "models/lewm/statistics.h"
#include "plan/choice.h"
#include "tensor/placed.h"

namespace orrery {

namespace {

PlannerChoice choice_of(const PlanOptions& options) {
  PlannerChoice choice;
  choice.name = options.planner;
  choice.samples = options.samples;
  choice.elites = options.elites;
  choice.iterations = options.iterations;
  choice.initial_std = options.initial_std;
  choice.elite_std = options.population_std ? EliteStd::population : EliteStd::sample;
  choice.min_std = options.min_std;
  choice.enough_std = options.enough_std;
  choice.noise_beta = options.noise_beta;
  choice.momentum = options.momentum;
  choice.keep = options.keep;
  choice.answer = options.return_best ? IcemAnswer::best : IcemAnswer::mean;
  choice.temperature = options.temperature;
  if (options.action_limit != 0) choice.action_limit = options.action_limit;
  choice.bound_scale = options.limit_is_z_scored ? BoundScale::none : BoundScale::action;
  return choice;
}

}  // namespace

const char* version() { return "0.1.0"; }

struct WorldModel::Parts {
  Parts(const std::string& path, const ModelOptions& options)
      : ctx({.threads = options.threads, .where = device_from(options.device)}),
        model(ctx, lewm::load_model(path), precision_from(options.precision)),
        statistics(lewm::statistics_of_model(path)),
        latents(ctx, 2 * model.config().latent()) {
    const lewm::Config& config = model.config();
    facts.parameters = model.weights().parameters.numel();
    facts.image_size = static_cast<int>(config.encoder.image_size);
    facts.patch_size = static_cast<int>(config.encoder.patch);
    facts.latent_size = static_cast<int>(config.latent());
    facts.action_size = static_cast<int>(config.action.input);
    facts.window = static_cast<int>(config.predictor.window);
    facts.has_statistics = statistics.has_value();
    facts.device = ctx.device() == Device::cpu ? "cpu" : text("cuda:", ctx.device_index());
    facts.precision = name_of(model.precision());
    if (statistics) {
      check(statistics->frameskip * statistics->action_dim() == config.action.input, path,
            ": statistics of ", statistics->action_dim(), " action numbers and frameskip ",
            statistics->frameskip, " do not fit a model that takes ", config.action.input,
            " numbers a block");
      facts.frameskip = static_cast<int>(statistics->frameskip);
      facts.raw_action_size = static_cast<int>(statistics->action_dim());
    }
  }

  // an eye for pictures of this size; the last one is kept
  lewm::Eye& eye_for(const Picture& picture) {
    check(picture.rgb != nullptr, "a picture without pixels was given");
    if (!eye || eye->height() != picture.height || eye->width() != picture.width) {
      eye.emplace(ctx, model, picture.height, picture.width, 1);
    }
    return *eye;
  }

  // into a row of `latents`
  View<float, 2> encode(const Picture& picture, i64 row) {
    const auto latent = latents.view<2>({2, model.config().latent()}).slice(0, row, row + 1);
    eye_for(picture).look(
        ctx, View<const u8, 4>(picture.rgb, {1, picture.height, picture.width, 3}), latent);
    return latent;
  }

  Context ctx;
  lewm::Model model;
  std::optional<lewm::Statistics> statistics;
  Placed<float> latents;  // [2, D]: now and the goal
  std::optional<lewm::Eye> eye;
  ModelFacts facts;
};

WorldModel::WorldModel(const std::string& path, int threads)
    : WorldModel(path, ModelOptions{.threads = threads}) {}
WorldModel::WorldModel(const std::string& path, const ModelOptions& options)
    : parts_(std::make_unique<Parts>(path, options)) {}
WorldModel::~WorldModel() = default;
WorldModel::WorldModel(WorldModel&&) noexcept = default;
WorldModel& WorldModel::operator=(WorldModel&&) noexcept = default;

const ModelFacts& WorldModel::facts() const { return parts_->facts; }

std::vector<float> WorldModel::encode(const Picture& picture) {
  std::vector<float> latent(static_cast<std::size_t>(parts_->model.config().latent()));
  parts_->encode(picture, 0);
  parts_->latents.get(latent);
  return latent;
}

PlannedActions WorldModel::plan(const Picture& now, const Picture& goal,
                                const PlanOptions& options) {
  Parts& parts = *parts_;
  const i64 block = parts.model.config().action.input;
  CounterNoise noise(options.seed);
  ActionScale scale;
  if (parts.statistics) scale = {parts.statistics->action_mean, parts.statistics->action_std};
  const auto planner = make_planner(
      parts.ctx, choice_of(options),
      {.environments = 1, .horizon = options.horizon, .action_dim = block}, scale, noise);
  lewm::GoalDynamics dynamics(parts.ctx, parts.model,
                              {.samples = options.samples, .horizon = options.horizon});
  std::vector<float> actions(static_cast<std::size_t>(options.horizon * block));
  float cost = 0;

  const double begin = now_s();
  const auto present = parts.encode(now, 0);
  const auto target = parts.encode(goal, 1);
  dynamics.begin(1);
  dynamics.observe(0, present, {}, target[0]);
  planner->plan(parts.ctx, dynamics, {},
                {.actions = View<float, 3>(actions.data(), {1, options.horizon, block}),
                 .cost = View<float, 1>(&cost, {1})});

  PlannedActions planned;
  planned.plan_ms = 1e3 * (now_s() - begin);
  planned.cost = static_cast<double>(cost);
  // a block is frameskip steps; without statistics it stays one row
  const i64 width = parts.statistics ? parts.statistics->action_dim() : block;
  for (std::size_t at = 0; at < actions.size(); at += static_cast<std::size_t>(width)) {
    std::vector<float> step(actions.begin() + static_cast<std::ptrdiff_t>(at),
                            actions.begin() + static_cast<std::ptrdiff_t>(at) + width);
    if (parts.statistics) {
      for (std::size_t d = 0; d < step.size(); ++d) {
        step[d] = step[d] * static_cast<float>(parts.statistics->action_std[d]) +
                  static_cast<float>(parts.statistics->action_mean[d]);
      }
    }
    planned.actions.push_back(std::move(step));
  }
  return planned;
}

}  // namespace orrery
