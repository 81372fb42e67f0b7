#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "data/recorder.h"
#include "progress.h"
#include "reset_options.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

struct Options {
  RecordOptions recording;
  ResetArguments reset;
  std::string output;
  std::string layout = "release";
  int threads = 0;
  bool json = false;
};

void run(Options& options) {
  options.recording.reset = options.reset.parse();
  options.recording.layout =
      options.layout == "current" ? RecordingLayout::current : RecordingLayout::release;
  Context ctx({.threads = options.threads});
  Progress progress("recording", options.recording.episodes, "episodes");
  stop_requested();  // from here on Ctrl-C is an orderly end
  const double start = now_s();
  const RecordSummary summary =
      record(ctx, options.recording, options.output, [&](i64 episodes, i64 rows) {
        progress.update(episodes, std::to_string(rows) + " rows");
        return !stop_requested();
      });
  const double seconds = now_s() - start;
  const double rate = static_cast<double>(summary.rows) / seconds;
  if (options.json) {
    const nlohmann::json object = {{"env", options.recording.environment},
                                   {"policy", options.recording.policy},
                                   {"seed", options.recording.seed},
                                   {"episodes", summary.episodes},
                                   {"reached", summary.reached},
                                   {"rows", summary.rows},
                                   {"seconds", seconds},
                                   {"rows_per_s", rate},
                                   {"bytes", summary.bytes},
                                   {"output", options.output}};
    std::cout << object.dump() << "\n";
  } else {
    std::cout << options.output << ": " << summary.episodes << " episodes (" << summary.reached
              << " reached their goal), " << summary.rows << " rows, " << summary.bytes / 1000000
              << " MB, " << static_cast<i64>(rate) << " rows/s\n";
  }
}

}  // namespace

void add_record(CLI::App& app, int&) {
  auto* verb = app.add_subcommand("record", "play a policy and write a data set");
  const auto options = std::make_shared<Options>();
  RecordOptions& recording = options->recording;
  verb->add_option("--env", recording.environment, "environment")->capture_default_str();
  verb->add_option("--policy", recording.policy, "expert, random or mixed")->capture_default_str();
  verb->add_option("--episodes", recording.episodes, "how many")->capture_default_str();
  verb->add_option("--seed", recording.seed, "decides everything")->capture_default_str();
  verb->add_option("--output", options->output, "the HDF5 file to make")->required();
  verb->add_option("--max-steps", recording.max_steps, "actions of an episode at most")
      ->capture_default_str();
  verb->add_option("--image-size", recording.image_size, "pixels a side")->capture_default_str();
  verb->add_option("--noise", recording.expert_noise, "standard deviation on expert actions")
      ->capture_default_str();
  verb->add_option("--layout", options->layout,
                   "release: compressed, chunks of 100 frames; current: plain, a chunk a row")
      ->check(CLI::IsMember({"release", "current"}))
      ->capture_default_str();
  verb->add_option("--threads", options->threads, "0: all cores");
  verb->add_flag("--json", options->json, "print one JSON object");
  options->reset.add_to(*verb);
  verb->callback([options] { run(*options); });
}

}  // namespace orrery::cli
