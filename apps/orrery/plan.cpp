#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "media/image.h"
#include "orrery/orrery.h"
#include "planner_options.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

Picture picture_of(const Image& image) {
  return {image.rgb.data(), static_cast<int>(image.height), static_cast<int>(image.width)};
}

}  // namespace

void add_plan(CLI::App& app, int&) {
  struct Options {
    std::string model, frame, goal;
    PlannerOptions planner;
    PlanOptions plan;
    int threads = 0;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  auto* verb = app.add_subcommand("plan", "actions that lead from one picture to another");
  verb->add_option("--model", options->model, "folder of a model, or its file of weights")
      ->required();
  verb->add_option("--frame", options->frame, "PNG or JPEG of the present")->required();
  verb->add_option("--goal", options->goal, "PNG or JPEG of the goal")->required();
  options->planner.add_to(*verb);
  verb->add_option("--horizon", options->plan.horizon, "blocks of actions")->capture_default_str();
  verb->add_option("--seed", options->plan.seed, "seed of the candidates")->capture_default_str();
  verb->add_option("--threads", options->threads, "threads, 0 for one per core");
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options] {
    WorldModel model(options->model, options->threads);
    const Image now = read_image(options->frame);
    const Image goal = read_image(options->goal);
    options->planner.apply_to(options->plan);
    const PlannedActions plan = model.plan(picture_of(now), picture_of(goal), options->plan);
    if (options->json) {
      std::cout << nlohmann::json{{"planner", options->plan.planner},
                                  {"actions", plan.actions},
                                  {"cost", plan.cost},
                                  {"plan_ms", plan.plan_ms}}
                       .dump(1)
                << "\n";
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
  });
}

}  // namespace orrery::cli
