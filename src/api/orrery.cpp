#include "orrery/orrery.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "models/lewm/eye.h"
#include "models/lewm/pilot.h"
#include "models/lewm/statistics.h"
#include "models/lewm/vector_encoder.h"
#include "plan/categorical_cem.h"
#include "plan/choice.h"
#include "tensor/placed.h"

namespace orrery {

namespace {

DescentChoice choice_of(const DescentOptions& options) {
  DescentChoice choice;
  if (!options.optimizer.empty()) choice.optimiser = optimiser_from(options.optimizer);
  if (options.lr != 0) choice.lr = options.lr;
  choice.weight_decay = options.weight_decay;
  choice.momentum = options.sgd_momentum;
  choice.grad_clip = options.grad_clip;
  choice.action_noise = options.action_noise;
  choice.rounds = options.rounds;
  choice.rho = options.rho;
  choice.rho_max = options.rho_max;
  choice.rho_scale = options.rho_scale;
  choice.persist_multipliers = options.persist_multipliers;
  const auto limit = [](double value) {
    return value == 0 ? std::optional<double>() : std::optional<double>(value);
  };
  choice.limits = {limit(options.max_action_energy), limit(options.max_action),
                   limit(options.max_goal_distance)};
  return choice;
}

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
  if (options.momentum >= 0) choice.momentum = options.momentum;
  choice.keep = options.keep;
  choice.answer = options.return_best ? IcemAnswer::best : IcemAnswer::mean;
  choice.temperature = options.temperature;
  if (options.action_limit != 0) choice.action_limit = options.action_limit;
  choice.bound_scale = options.limit_is_z_scored ? BoundScale::none : BoundScale::action;
  choice.categories = options.categories;
  choice.smoothing = options.smoothing;
  choice.descent = choice_of(options.descent);
  if (!options.upstream.empty()) choice = follow_upstream(std::move(choice), options.upstream);
  // what was asked for by name stays
  if (options.population_std) choice.elite_std = EliteStd::population;
  if (!options.descent.answer.empty()) {
    choice.descent.answer = descent_answer_from(options.descent.answer);
  }
  return choice;
}

lewm::Objective objective_of(const PlanOptions& options, const std::string& path, i64 latent) {
  return lewm::objective_of({.cost = options.cost,
                             .reduction = options.goal_reduction,
                             .latent_weight = options.latent_weight,
                             .control_penalty = options.control_penalty},
                            path, latent);
}

std::vector<TraceValues> columns_of(const PlanTrace& trace) {
  std::vector<TraceValues> columns;
  for (const auto& column : kTraceColumns) {
    const auto& values = trace.*column.values;
    if (!values.empty()) columns.push_back({column.name, values});
  }
  return columns;
}

// A planner with all its memory, kept while pictures and options stay as they are: the second of a
// row of plans is captured on a CUDA device, the rest replay it.
struct Flight {
  Flight(Context& ctx, const lewm::Model& model, const std::string& path, const ActionScale& scale,
         const PlanOptions& given, const Picture& now)
      : options(given),
        noise(given.seed),
        planner(make_planner(ctx, choice_of(given),
                             {.environments = 1,
                              .horizon = given.horizon,
                              .action_dim = model.config().action.input},
                             scale, noise)),
        pilot(ctx, model, *planner, {.height = now.height, .width = now.width},
              objective_of(given, path, model.config().latent()),
              lewm::constraints_of(choice_of(given.descent).limits)) {
    if (given.trace) planner->set_trace(&traces);
  }

  bool fits(const PlanOptions& wanted, const Picture& now) const {
    return wanted == options && now.height == pilot.height() && now.width == pilot.width();
  }

  PlanOptions options;
  CounterNoise noise;
  std::unique_ptr<Planner> planner;
  lewm::Pilot pilot;
  std::vector<PlanTrace> traces;
  std::vector<u8> goal;  // the pixels that the pilot's goal was made of
};

View<const u8, 4> view_of(const Picture& picture) {
  return {picture.rgb, {1, picture.height, picture.width, 3}};
}

}  // namespace

const char* version() { return "0.1.0"; }

struct WorldModel::Parts {
  Parts(const std::string& given_path, const ModelOptions& options)
      : path(given_path),
        ctx({.threads = options.threads, .where = device_from(options.device)}),
        model(ctx, lewm::load_model(path), precision_from(options.precision)),
        statistics(lewm::statistics_of_model(path)),
        latent(ctx, model.config().latent()) {
    const lewm::Config& config = model.config();
    facts.parameters = model.weights().parameters.numel();
    facts.image_size = static_cast<int>(config.encoder.image_size);
    facts.patch_size = static_cast<int>(config.encoder.patch);
    facts.latent_size = static_cast<int>(config.latent());
    facts.action_size = static_cast<int>(config.action.input);
    facts.window = static_cast<int>(config.predictor.window);
    if (config.encoder.of_vectors()) {
      facts.patch_size = 0;
      facts.observation_size = static_cast<int>(config.encoder.vector.inputs);
      facts.observation = config.encoder.vector.column;
      reader.emplace(model, 1);
    }
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
    if (!eye || eye->height() != picture.height || eye->width() != picture.width) {
      eye.emplace(ctx, model, picture.height, picture.width, 1);
    }
    return *eye;
  }

  // what plans with these options from pictures of these sizes; the last one is kept
  Flight& flight_for(const PlanOptions& options, const Picture& now) {
    if (!flight || !flight->fits(options, now)) {
      ActionScale scale;
      if (statistics) scale = {statistics->action_mean, statistics->action_std};
      flight.reset();  // its memory first
      flight = std::make_unique<Flight>(ctx, model, path, scale, options, now);
    }
    return *flight;
  }

  // encodes the goal unless it is the one of the last plan
  void aim(Flight& at, const Goal& goal) {
    if (!goal.latent.empty()) {
      at.goal.clear();
      at.pilot.set_goal_latents(
          0, View<const float, 2>(goal.latent.data(), {1, static_cast<i64>(goal.latent.size())}));
      return;
    }
    if (!goal.observation.empty()) {
      at.goal.clear();
      const std::vector<float> values = read(goal.observation);
      at.pilot.set_goal_latents(0, View<const float, 2>(values.data(), {1, latent.count()}));
      return;
    }
    const Picture& picture = goal.picture;
    const std::size_t bytes =
        static_cast<std::size_t>(picture.height) * static_cast<std::size_t>(picture.width) * 3;
    if (at.goal.size() == bytes && std::equal(at.goal.begin(), at.goal.end(), picture.rgb)) return;
    if (picture.height == at.pilot.height() && picture.width == at.pilot.width()) {
      at.pilot.set_goals(0, view_of(picture));
    } else {
      std::vector<float> values(static_cast<std::size_t>(latent.count()));
      look(picture, values);
      at.pilot.set_goal_latents(0, View<const float, 2>(values.data(), {1, latent.count()}));
    }
    at.goal.assign(picture.rgb, picture.rgb + bytes);
  }

  // plans for the first goal from what is seen
  using FirstPlan =
      std::function<void(lewm::Pilot&, const PlanRequest& request, const PlanResult& result)>;
  PlannedActions plan(const Picture& now, const std::vector<Goal>& goals,
                      const PlanOptions& options, const FirstPlan& first_plan);

  void look(const Picture& picture, std::span<float> values) {
    eye_for(picture).look(ctx, view_of(picture), latent.view<2>({1, latent.count()}));
    latent.get(values);
  }

  // Error when it is not what the model sees
  void must_be_seen(const std::vector<float>& observation) const {
    check(reader.has_value(), "an observation of ", observation.size(),
          " numbers came, the model sees pictures");
    check(static_cast<int>(observation.size()) == facts.observation_size, "an observation of ",
          observation.size(), " numbers came, the model sees ", facts.observation_size, " (",
          facts.observation, ")");
  }

  std::vector<float> read(const std::vector<float>& observation) {
    must_be_seen(observation);
    std::vector<float> values(static_cast<std::size_t>(latent.count()));
    reader->read(
        ctx, View<const float, 2>(observation.data(), {1, static_cast<i64>(observation.size())}),
        View<float, 2>(values.data(), {1, latent.count()}));
    return values;
  }

  std::string path;
  Context ctx;
  lewm::Model model;
  std::optional<lewm::Statistics> statistics;
  Placed<float> latent;
  std::optional<lewm::Eye> eye;
  std::optional<lewm::VectorReader> reader;  // of a model that sees vectors
  std::unique_ptr<Flight> flight;
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
  check(picture.rgb != nullptr, "a picture without pixels was given");
  std::vector<float> latent(static_cast<std::size_t>(parts_->model.config().latent()));
  parts_->look(picture, latent);
  return latent;
}

std::vector<float> WorldModel::encode(const std::vector<float>& observation) {
  return parts_->read(observation);
}

PlannedActions WorldModel::plan(const Picture& now, const Picture& goal,
                                const PlanOptions& options) {
  return plan(now, std::vector<Goal>{{goal, {}}}, options);
}

PlannedActions WorldModel::plan(const Picture& now, const std::vector<Goal>& goals,
                                const PlanOptions& options) {
  check(now.rgb != nullptr, "a picture without pixels was given");
  lewm::Pilot::Sight sight;
  sight.frames = {now.rgb, {1, 1, now.height, now.width, 3}};
  return parts_->plan(now, goals, options,
                      [&](lewm::Pilot& pilot, const PlanRequest& request,
                          const PlanResult& result) { pilot.plan(sight, request, result); });
}

PlannedActions WorldModel::plan(const std::vector<float>& now, const std::vector<Goal>& goals,
                                const PlanOptions& options) {
  parts_->must_be_seen(now);
  return parts_->plan(
      {}, goals, options,
      [&](lewm::Pilot& pilot, const PlanRequest& request, const PlanResult& result) {
        const std::vector<float> seen = parts_->read(now);
        const auto width = static_cast<i64>(seen.size());
        pilot.plan_from({seen.data(), {1, 1, width}}, {}, request, result);
      });
}

PlannedActions WorldModel::Parts::plan(const Picture& now, const std::vector<Goal>& goals,
                                       const PlanOptions& options, const FirstPlan& first_plan) {
  check(!goals.empty(), "no goals were given, at least one was needed");
  for (const Goal& goal : goals) {
    check(goal.picture.rgb != nullptr || !goal.latent.empty() || !goal.observation.empty(),
          "a goal without pixels, latent and observation was given");
  }
  Parts& parts = *this;
  Flight& trip = parts.flight_for(options, now);
  const i64 block = parts.model.config().action.input;
  const i64 dim = parts.model.config().latent();
  const i64 numbers = options.horizon * block;
  std::vector<float> actions(goals.size() * static_cast<std::size_t>(numbers));
  std::vector<float> imagined;
  PlannedActions planned;

  const double begin = now_s();
  for (std::size_t i = 0; i < goals.size(); ++i) {
    parts.aim(trip, goals[i]);
    // every goal's plan draws its own numbers
    const PlanKey key = {0, static_cast<i64>(i)};
    PlanRequest request;
    request.keys = {&key, 1};
    request.budget_ms = options.budget_ms / static_cast<double>(goals.size());
    float* mine = actions.data() + static_cast<i64>(i) * numbers;
    float cost = 0;
    const PlanResult result = {.actions = View<float, 3>(mine, {1, options.horizon, block}),
                               .cost = View<float, 1>(&cost, {1}),
                               .std = {}};
    if (i == 0) {
      first_plan(trip.pilot, request, result);
    } else {
      // from where the plan before is imagined to lead
      trip.pilot.plan_from({imagined.data() + options.horizon * dim, {1, 1, dim}}, {}, request,
                           result);
    }
    if (i + 1 < goals.size()) {
      imagined.resize(static_cast<std::size_t>((1 + options.horizon) * dim));
      trip.pilot.imagine(0, View<const float, 2>(mine, {options.horizon, block}),
                         {imagined.data(), {1 + options.horizon, dim}});
    }
    planned.goal_costs.push_back(static_cast<double>(cost));
    planned.cost += static_cast<double>(cost);
    if (options.trace) planned.traces.push_back(columns_of(trip.traces.at(0)));
  }
  planned.plan_ms = 1e3 * (now_s() - begin);
  if (options.planner == "categorical-cem" || options.planner == "pgd") {
    const View<const float, 2> plan(actions.data(),
                                    {static_cast<i64>(goals.size()) * options.horizon, block});
    for (const i64 chosen : categories_of(plan, options.categories)) {
      planned.categories.push_back(static_cast<int>(chosen));
    }
  }
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
