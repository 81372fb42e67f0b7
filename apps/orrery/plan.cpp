#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "decisions_output.h"
#include "device_options.h"
#include "media/image.h"
#include "models/lewm/statistics.h"
#include "npy_rows.h"
#include "orrery/orrery.h"
#include "planner_options.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

Picture picture_of(const Image& image) {
  return {image.rgb.data(), static_cast<int>(image.height), static_cast<int>(image.width)};
}

struct Options {
  std::string model, frame, observation, check_with;
  std::vector<std::string> goals, goal_observations;
  PlannerOptions planner;
  PlanOptions plan;
  DeviceOptions device;
  bool json = false;
};

// What is to be reached, with the pixels that it needs.
struct GivenGoal {
  Image image;
  std::vector<float> latent, observation;
  Goal goal() const {
    return {image.rgb.empty() ? Picture() : picture_of(image), latent, observation};
  }
};

// One goal, or the rows of a NumPy file: latents, or what a model of vectors observes.
void add_goals(const std::string& path, bool vectors, std::vector<GivenGoal>& goals) {
  if (std::filesystem::path(path).extension() != ".npy") {
    goals.push_back({.image = read_image(path)});
    return;
  }
  for (std::vector<float>& row : rows_of_npy(path)) {
    if (vectors) {
      goals.push_back({.observation = std::move(row)});
    } else {
      goals.push_back({.latent = std::move(row)});
    }
  }
}

nlohmann::json json_of(const std::vector<TraceValues>& trace) {
  nlohmann::json json = nlohmann::json::object();
  for (const TraceValues& column : trace) json[column.name] = column.values;
  return json;
}

// the same plan again, by f32 on another device
DecisionReport checked_plan(Options& options, const Image& now, const Image& goal) {
  Context ctx(options.device.context());
  Context other(
      {.threads = options.device.chosen().threads, .where = device_from(options.check_with)});
  const lewm::Model model(ctx, lewm::load_model(options.model), options.device.precision());
  const lewm::Model reference(other, lewm::load_model(options.model));
  DecisionProblem problem = {
      .now = now.view(),
      .goal = goal.view(),
      .planner = options.planner.choice(),
      .objective = options.planner.objective(options.model, model.config().latent()),
      .horizon = options.plan.horizon,
      .seed = options.plan.seed};
  if (const auto statistics = lewm::statistics_of_model(options.model)) {
    problem.scale = {statistics->action_mean, statistics->action_std};
  }
  return compare_decisions(ctx, model, other, reference, problem);
}

}  // namespace

void add_plan(CLI::App& app, int& result) {
  auto options = std::make_shared<Options>();
  auto* verb = app.add_subcommand("plan", "actions that lead from one picture to another");
  verb->add_option("--model", options->model, "folder of a model, or its file of weights")
      ->required();
  auto* frame = verb->add_option("--frame", options->frame, "PNG or JPEG of the present");
  verb->add_option("--observation", options->observation,
                   "of a model that sees vectors: the present's numbers, a NumPy file (.npy)")
      ->excludes(frame);
  verb->add_option("--goal,--goal-latent", options->goals,
                   "PNG or JPEG of the goal, or NumPy file (.npy) of latents; several are gone "
                   "through in their order")
      ->take_all();
  verb->add_option("--goal-observation", options->goal_observations,
                   "of a model that sees vectors: goals as it would observe them, a NumPy file "
                   "(.npy) of one row or several")
      ->take_all();
  options->planner.add_to(*verb);
  verb->add_option("--horizon", options->plan.horizon, "blocks of actions")->capture_default_str();
  verb->add_option("--seed", options->plan.seed, "seed of the candidates")->capture_default_str();
  verb->add_option("--budget-ms", options->plan.budget_ms,
                   "milliseconds that the search may take, 0 for no limit");
  options->device.add_to(*verb);
  verb->add_option("--check-with", options->check_with,
                   "device on which f32 makes the same plan, to compare decisions: cpu, cuda:N");
  verb->add_flag("--trace", options->plan.trace,
                 "with --json: how the plan was found, one number per iteration");
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options, &result] {
    WorldModel model(options->model, options->device.chosen());
    const bool vectors = !options->observation.empty();
    check(vectors || !options->frame.empty(),
          "the present is missing: --frame, or --observation for a model of vectors");
    check(!options->goals.empty() || !options->goal_observations.empty(),
          "a goal is missing: --goal, or --goal-observation for a model of vectors");
    check(!vectors || options->check_with.empty(),
          "--check-with is of models that see pictures, --observation was given");
    Image now;
    if (!vectors) now = read_image(options->frame);
    std::vector<GivenGoal> given;
    for (const std::string& path : options->goals) add_goals(path, false, given);
    for (const std::string& path : options->goal_observations) add_goals(path, true, given);
    std::vector<Goal> goals;
    for (const GivenGoal& one : given) goals.push_back(one.goal());
    options->planner.apply_to(options->plan);
    const auto present = [&] {
      const auto rows = rows_of_npy(options->observation);
      check(rows.size() == 1, options->observation, " holds ", rows.size(),
            " rows, the present is one");
      return rows[0];
    };
    const PlannedActions plan = vectors ? model.plan(present(), goals, options->plan)
                                        : model.plan(picture_of(now), goals, options->plan);
    // what answers then was chosen by nothing
    check(std::isfinite(plan.cost),
          "no candidate had a finite cost: the model's weights, its pictures' latents or "
          "the goals are out of range");
    std::optional<DecisionReport> checked;
    if (!options->check_with.empty()) {
      check(goals.size() == 1 && goals[0].latent.empty(),
            "--check-with compares plans to one picture, ", goals.size(), " goals were given");
      checked = checked_plan(*options, now, given[0].image);
      result = checked->ok() ? 0 : 1;
    }
    if (options->json) {
      nlohmann::json json = {{"planner", options->plan.planner},
                             {"device", model.facts().device},
                             {"precision", model.facts().precision},
                             {"actions", plan.actions},
                             {"cost", plan.cost},
                             {"plan_ms", plan.plan_ms}};
      if (plan.goal_costs.size() > 1) json["goal_costs"] = plan.goal_costs;
      if (!plan.categories.empty()) json["categories"] = plan.categories;
      // NaN, which JSON has not, is written as null
      for (const auto& trace : plan.traces) json["traces"].push_back(json_of(trace));
      if (checked) {
        json["check"] = json_of(*checked);
        json["check"]["with"] = options->check_with;
      }
      std::cout << json.dump(1) << "\n";
      return;
    }
    std::cout << "cost " << plan.cost << ", planned in " << std::fixed << std::setprecision(1)
              << plan.plan_ms << " ms; "
              << (model.facts().has_statistics ? "actions:" : "actions, z-scored:") << "\n"
              << std::setprecision(3);
    for (std::size_t step = 0; step < plan.actions.size(); ++step) {
      std::cout << std::setw(4) << step;
      for (const float a : plan.actions[step]) std::cout << std::setw(8) << a;
      std::cout << "\n";
    }
    if (checked) print(*checked);
  });
}

}  // namespace orrery::cli
