#include <unistd.h>

#include <filesystem>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "data/recorder.h"
#include "data/statistics.h"
#include "device_options.h"
#include "eval/evaluate.h"
#include "eval/report.h"
#include "io/json.h"
#include "planner_options.h"
#include "progress.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

struct Options {
  std::string environment = "tworoom";
  std::string model, data, report, output;
  std::vector<u64> seeds = {42};
  i64 recorded_episodes = 100;
  Protocol protocol;
  PlannerOptions planner;
  DeviceOptions device;
  bool json = false;
};

// A folder of its own that is gone when this is.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "orrery-XXXXXX").string();
    check(::mkdtemp(name.data()) != nullptr, "no temporary folder could be made in ",
          std::filesystem::temp_directory_path().string());
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Starts and goals: the given recording, or fresh episodes of the environment's expert with the
// published noise, from a seed that is far from those people record training data with.
std::unique_ptr<Episodes> starts_for(Context& ctx, const Options& options, u64 seed, i64 image_size,
                                     const std::filesystem::path& folder) {
  if (!options.data.empty()) return open_episodes(options.data);
  RecordOptions recording;
  recording.environment = options.environment;
  recording.policy = "expert";
  recording.episodes = options.recorded_episodes;
  recording.image_size = image_size;
  recording.seed = mix(0xE7A1, seed);
  const auto path = folder / ("episodes-" + std::to_string(seed) + ".h5");
  record(ctx, recording, path, [](i64, i64) { return true; });
  return open_episodes(path);
}

// The statistics a model ships with, else those of the recording, as the published evaluation takes
// them.
lewm::Statistics statistics_for(const Options& options, const Episodes& episodes) {
  if (auto shipped = lewm::statistics_of_model(options.model)) return *shipped;
  check(!options.data.empty(), options.model,
        " has no statistics.json: give --data, the recording that its actions were scaled by");
  const ColumnStatistics action = column_statistics(episodes, episodes.column_index("action"));
  lewm::Statistics statistics;
  statistics.action_mean = action.mean;
  statistics.action_std = action.deviation;
  statistics.frameskip = options.protocol.plan.action_block;
  return statistics;
}

nlohmann::json json_of(const Evaluation& evaluation, const ModelOptions& where) {
  const std::vector<double> times = evaluation.plan_times_ms();
  return {{"env", evaluation.environment},
          {"protocol",
           {{"name", "stable-worldmodel"},
            {"seed", evaluation.protocol.seed},
            {"goal_offset", evaluation.protocol.goal_offset},
            {"budget", evaluation.protocol.budget},
            {"horizon", evaluation.protocol.plan.horizon},
            {"receding_horizon", evaluation.protocol.plan.receding_horizon},
            {"action_block", evaluation.protocol.plan.action_block},
            {"planner", evaluation.protocol.planner.name},
            {"samples", evaluation.protocol.planner.samples},
            {"iterations", evaluation.protocol.planner.iterations},
            {"elites", evaluation.protocol.planner.elites},
            {"start_rule", evaluation.protocol.original_start_rule ? "original" : "corrected"}}},
          {"device", where.device},
          {"precision", where.precision},
          {"model", evaluation.model},
          {"data", evaluation.data},
          {"parameters", evaluation.parameters},
          {"episodes", evaluation.episodes.size()},
          {"successes", evaluation.successes()},
          {"success_rate", evaluation.success_rate()},
          {"ci95", evaluation.ci95()},
          {"random_success_rate", evaluation.random_success_rate()},
          {"already_solved", evaluation.already_solved()},
          {"plan_ms", {{"p50", quantile(times, 0.5)}, {"p99", quantile(times, 0.99)}}},
          {"seconds", evaluation.seconds}};
}

void print(const Evaluation& evaluation) {
  const std::vector<double> times = evaluation.plan_times_ms();
  const auto ci = evaluation.ci95();
  std::cout << std::fixed << std::setprecision(0) << evaluation.environment << " seed "
            << evaluation.protocol.seed << ": " << evaluation.successes() << " of "
            << evaluation.episodes.size() << " goals reached (" << evaluation.success_rate()
            << " %, 95 % interval " << ci[0] << " to " << ci[1] << "); random policy "
            << evaluation.random_success_rate() << " %; at the goal from the start "
            << evaluation.already_solved() << "; plan " << std::setprecision(1)
            << quantile(times, 0.5) << " ms median, " << quantile(times, 0.99) << " ms p99; "
            << evaluation.seconds << " s\n";
}

void run(Options& options) {
  Context ctx(options.device.context());
  const lewm::Model model(ctx, lewm::load_model(options.model), options.device.precision());
  options.protocol.planner = options.planner.choice();
  if (auto shipped = lewm::statistics_of_model(options.model))
    options.protocol.plan.action_block = shipped->frameskip;

  const TemporaryFolder folder;
  std::vector<Evaluation> evaluations;
  for (const u64 seed : options.seeds) {
    options.protocol.seed = seed;
    const auto episodes =
        starts_for(ctx, options, seed, model.config().encoder.image_size, folder.path());
    Progress progress("evaluating", options.protocol.budget, "steps");
    EvaluateOptions how;
    how.environment = options.environment;
    how.films = !options.report.empty();
    how.progress = [&](i64 step, i64, i64 solved) {
      progress.update(step, std::to_string(solved) + " reached");
    };
    evaluations.push_back(
        evaluate(ctx, model, statistics_for(options, *episodes), options.protocol, *episodes, how));
    evaluations.back().model = options.model;
    if (options.data.empty()) evaluations.back().data = "freshly recorded expert episodes";
  }

  nlohmann::json all = nlohmann::json::array();
  for (const Evaluation& evaluation : evaluations)
    all.push_back(json_of(evaluation, options.device.chosen()));
  const nlohmann::json result =
      evaluations.size() == 1 ? all.front() : nlohmann::json{{"runs", all}};
  if (!options.output.empty()) write_json(options.output, result);
  if (!options.report.empty()) write_report(options.report, evaluations);
  if (options.json) {
    std::cout << result.dump(1) << "\n";
    return;
  }
  for (const Evaluation& evaluation : evaluations) print(evaluation);
  if (!options.report.empty()) std::cout << "report: " << options.report << "\n";
}

}  // namespace

void add_eval(CLI::App& app, int&) {
  auto options = std::make_shared<Options>();
  Protocol& protocol = options->protocol;
  auto* verb =
      app.add_subcommand("eval", "play an environment with a model by the published protocol");
  verb->add_option("--env", options->environment, "environment")->capture_default_str();
  verb->add_option("--model", options->model, "folder of a model, or its file of weights")
      ->required();
  verb->add_option("--data", options->data,
                   "recording to take starts and goals from; without it episodes are recorded");
  verb->add_option("--record-episodes", options->recorded_episodes,
                   "episodes to record without --data")
      ->capture_default_str();
  verb->add_option("--episodes", protocol.episodes, "episodes to play")->capture_default_str();
  verb->add_option("--seed", options->seeds, "one seed, or several for one run each")
      ->capture_default_str();
  verb->add_option("--goal-offset", protocol.goal_offset, "rows from start to goal")
      ->capture_default_str();
  verb->add_option("--budget", protocol.budget, "environment steps an episode may take")
      ->capture_default_str();
  verb->add_option("--horizon", protocol.plan.horizon, "blocks planned")->capture_default_str();
  verb->add_option("--receding-horizon", protocol.plan.receding_horizon,
                   "blocks carried out before the next plan")
      ->capture_default_str();
  verb->add_option("--action-block", protocol.plan.action_block,
                   "steps a block, for models without statistics")
      ->capture_default_str();
  options->planner.add_to(*verb);
  verb->add_flag("--original-start-rule", protocol.original_start_rule,
                 "choose start rows as before 2026-07-22");
  verb->add_option("--report", options->report,
                   "write a page with films and figures, one HTML file");
  verb->add_option("--output", options->output, "write the result as JSON");
  options->device.add_to(*verb);
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options] { run(*options); });
}

}  // namespace orrery::cli
