#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "decisions_output.h"
#include "device_options.h"
#include "media/image.h"
#include "models/lewm/statistics.h"
#include "orrery/orrery.h"
#include "planner_options.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

Picture picture_of(const Image& image) {
  return {image.rgb.data(), static_cast<int>(image.height), static_cast<int>(image.width)};
}

struct Options {
  std::string model, frame, goal, check_with;
  PlannerOptions planner;
  PlanOptions plan;
  DeviceOptions device;
  bool json = false;
};

// the same plan again, by f32 on another device
DecisionReport checked_plan(Options& options, const Image& now, const Image& goal) {
  Context ctx(options.device.context());
  Context other(
      {.threads = options.device.chosen().threads, .where = device_from(options.check_with)});
  const lewm::Model model(ctx, lewm::load_model(options.model), options.device.precision());
  const lewm::Model reference(other, lewm::load_model(options.model));
  DecisionProblem problem = {.now = now.view(),
                             .goal = goal.view(),
                             .planner = options.planner.choice(),
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
  verb->add_option("--frame", options->frame, "PNG or JPEG of the present")->required();
  verb->add_option("--goal", options->goal, "PNG or JPEG of the goal")->required();
  options->planner.add_to(*verb);
  verb->add_option("--horizon", options->plan.horizon, "blocks of actions")->capture_default_str();
  verb->add_option("--seed", options->plan.seed, "seed of the candidates")->capture_default_str();
  verb->add_option("--budget-ms", options->plan.budget_ms,
                   "milliseconds that the search may take, 0 for no limit");
  options->device.add_to(*verb);
  verb->add_option("--check-with", options->check_with,
                   "device on which f32 makes the same plan, to compare decisions: cpu, cuda:N");
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options, &result] {
    WorldModel model(options->model, options->device.chosen());
    const Image now = read_image(options->frame);
    const Image goal = read_image(options->goal);
    options->planner.apply_to(options->plan);
    const PlannedActions plan = model.plan(picture_of(now), picture_of(goal), options->plan);
    std::optional<DecisionReport> checked;
    if (!options->check_with.empty()) {
      checked = checked_plan(*options, now, goal);
      result = checked->ok() ? 0 : 1;
    }
    if (options->json) {
      nlohmann::json json = {{"planner", options->plan.planner},
                             {"device", model.facts().device},
                             {"precision", model.facts().precision},
                             {"actions", plan.actions},
                             {"cost", plan.cost},
                             {"plan_ms", plan.plan_ms}};
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
