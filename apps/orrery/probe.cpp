#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/windows.h"
#include "device_options.h"
#include "eval/study.h"
#include "io/json.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

struct Options {
  std::string model, data, held_out, output;
  double held_out_fraction = 0.2;
  StudyOptions study;
  DeviceOptions device;
  bool json = false;
};

std::vector<i64> all_of(const Episodes& episodes) {
  std::vector<i64> all(static_cast<std::size_t>(episodes.count()));
  std::iota(all.begin(), all.end(), i64{0});
  return all;
}

void run(Options& options) {
  Context ctx(options.device.context());
  const lewm::Model model(ctx, lewm::load_model(options.model), options.device.precision());
  // pictures that are drawn get the model's size
  const OpenOptions how = {.image_size = model.config().encoder.image_size};
  const auto episodes = open_episodes(options.data, how);
  std::unique_ptr<Episodes> others;
  StudyData data{*episodes, all_of(*episodes), *episodes, {}};
  if (options.held_out.empty()) {
    check(episodes->count() >= 2, options.data, " has one episode; two are needed, or --held-out");
    EpisodeSplit split =
        split_episodes(episodes->count(), 1 - options.held_out_fraction, options.study.seed);
    data.learn_episodes = std::move(split.train);
    data.held_out_episodes = std::move(split.validation);
  }
  if (!options.held_out.empty()) others = open_episodes(options.held_out, how);
  const StudyData both = others == nullptr
                             ? std::move(data)
                             : StudyData{*episodes, all_of(*episodes), *others, all_of(*others)};

  const auto shipped = lewm::statistics_of_model(options.model);
  lewm::Statistics statistics;
  if (shipped) {
    statistics = *shipped;
  } else {
    const i64 action = episodes->column_index("action");
    const ColumnStatistics column = column_statistics(*episodes, action);
    statistics.action_mean = column.mean;
    statistics.action_std = column.deviation;
    statistics.frameskip =
        std::max<i64>(1, model.config().action.input / episodes->column(action).width());
  }
  const Study study = study_model(ctx, model, statistics, both, options.study);

  nlohmann::json result = {{"model", options.model},
                           {"data", options.data},
                           {"held_out", options.held_out.empty() ? options.data : options.held_out},
                           {"device", options.device.chosen().device},
                           {"precision", options.device.chosen().precision}};
  result.update(json_from_study(study));
  if (!options.output.empty()) write_json(options.output, result);
  if (options.json) {
    std::cout << result.dump(1) << "\n";
  } else {
    std::cout << lines_of(study);
  }
}

}  // namespace

void add_probe(CLI::App& app, int&) {
  auto options = std::make_shared<Options>();
  StudyOptions& study = options->study;
  auto* verb = app.add_subcommand(
      "probe",
      "what a model's latents are worth: prediction errors, linear and MLP probes of the state, "
      "latent against state distance");
  verb->add_option("--model", options->model, "folder of a model, or its file of weights")
      ->required();
  verb->add_option("--data", options->data, "recording with the world's state beside its pictures")
      ->required();
  auto* held_out = verb->add_option(
      "--held-out", options->held_out,
      "recording to measure on; without it episodes of --data that probes do not learn from");
  verb->add_option("--held-out-fraction", options->held_out_fraction,
                   "of the episodes of --data, by the seed")
      ->check(CLI::Range(0.01, 0.99))
      ->excludes(held_out)
      ->capture_default_str();
  verb->add_option("--frames", study.frames, "held-out frames to measure on, whole episodes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--learn-frames", study.learn_frames,
                   "frames that probes learn from; 0: no probes")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--columns", study.columns,
                   "columns to probe for (default: agent, block and angle where they are known)");
  verb->add_option("--horizons", study.horizons, "blocks to foretell; 0: none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--history", study.history, "frames to foretell from; 0: the predictor's window")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--pairs", study.pairs,
                   "pairs of frames of a kind for the curve of distances; 0: no curve")
      ->check(CLI::Range(i64{0}, i64{100'000'000}))
      ->capture_default_str();
  verb->add_option("--ridge", study.penalty, "penalty of the probes' regression")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  study.mlp_steps = 2000;
  verb->add_option("--mlp-steps", study.mlp_steps,
                   "steps that probes of two layers learn for, beside the linear ones; 0: none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--seed", study.seed, "of the choice of frames and pairs, and of the MLP probes")
      ->capture_default_str();
  verb->add_option("--output", options->output, "write the result as JSON");
  options->device.add_to(*verb);
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options] { run(*options); });
}

}  // namespace orrery::cli
