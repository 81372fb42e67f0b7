#include <algorithm>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "data/demonstrations.h"
#include "data/shared_recorder.h"
#include "dist/share.h"
#include "progress.h"
#include "rank_options.h"
#include "reset_options.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

struct Options {
  RecordOptions recording;
  ResetArguments reset;
  RankOptions ranks;
  std::string output;
  std::string layout;  // empty: as it suits the columns
  bool no_pixels = false;
  bool compact = false;
  bool actions = false;
  std::vector<std::string> demonstrations;
  std::optional<std::string> fold, without_fold;
  float noise = 0;
  // given on the command line, not left to what suits the policy and the environment
  bool has_noise = false;
  bool has_steps = false;
  bool has_size = false;
  bool in_place = false;
  int threads = 0;
  bool json = false;
};

// what the command line left open
void complete(Options& options) {
  RecordOptions& recording = options.recording;
  if (options.has_noise) recording.expert_noise = recording.replay_noise = options.noise;
  if (!options.has_size) {
    recording.image_size = make_environment(recording.environment)->frame_height();
  }
  recording.replay_moves = !options.in_place;
  check(options.demonstrations.empty() == (recording.policy != "replay"),
        "--demonstrations FILE goes with --policy replay, and the other way round");
  check(!options.demonstrations.empty() || (!options.fold && !options.without_fold),
        "--fold and --without-fold choose among --demonstrations, and there are none");
  if (options.demonstrations.empty()) return;
  auto shown = std::make_shared<std::vector<Demonstration>>();
  for (const std::string& file : options.demonstrations) {
    for (Demonstration& one : read_demonstrations(file)) shown->push_back(std::move(one));
  }
  if (options.fold) {
    *shown = choose(std::move(*shown), fold_from_text(*options.fold, "--fold"), false);
  }
  if (options.without_fold) {
    *shown =
        choose(std::move(*shown), fold_from_text(*options.without_fold, "--without-fold"), true);
  }
  if (!options.has_steps) {
    recording.max_steps = 1;
    for (const Demonstration& one : *shown) {
      recording.max_steps = std::max(recording.max_steps, static_cast<i64>(one.targets.size()));
    }
  }
  recording.demonstrations = shown;
}

// Nothing on ranks that only helped.
std::optional<RecordSummary> record_on_all_ranks(dist::World& world, const Options& options,
                                                 RecordProgress progress) {
  // parts that an earlier run left are used by one process, too
  if (world.size() == 1 && !std::filesystem::exists(parts_of_recording(options.output))) {
    Context ctx({.threads = options.threads});
    return record(ctx, options.recording, options.output, progress);
  }
  SharedRecordOptions shared;
  shared.recording = options.recording;
  shared.threads = options.ranks.threads(world, options.threads);
  shared.silence_s = options.ranks.silence_s;
  shared.tell = tell_user;
  return record_shared(world, shared, options.output, progress);
}

void run(Options& options) {
  const auto world = dist::join_world();
  try {
    options.recording.reset = options.reset.parse();
    complete(options);
  } catch (...) {
    return dist::take_no_part(*world, std::current_exception());
  }
  options.recording.columns = options.actions     ? RecordedColumns::actions
                              : options.compact   ? RecordedColumns::least
                              : options.no_pixels ? RecordedColumns::all_but_pixels
                                                  : RecordedColumns::all;
  const bool has_pixels = options.recording.columns == RecordedColumns::all;
  if (options.layout.empty()) options.layout = has_pixels ? "release" : "packed";
  options.recording.layout = recording_layout_from(options.layout).value();
  std::optional<Progress> progress;
  if (world->rank() == 0) progress.emplace("recording", options.recording.episodes, "episodes");
  stop_requested();  // from here on Ctrl-C is an orderly end
  const double start = now_s();
  const auto recorded = record_on_all_ranks(*world, options, [&](i64 episodes, i64 rows) {
    if (progress) progress->update(episodes, std::to_string(rows) + " rows");
    return !stop_requested();
  });
  if (!recorded) return;
  const RecordSummary& summary = *recorded;
  const double seconds = now_s() - start;
  const double rate = static_cast<double>(summary.rows) / seconds;
  const double row_bytes = static_cast<double>(summary.bytes) / static_cast<double>(summary.rows);
  if (options.json) {
    const nlohmann::json object = {{"env", options.recording.environment},
                                   {"policy", options.recording.policy},
                                   {"seed", options.recording.seed},
                                   {"episodes", summary.episodes},
                                   {"reached", summary.reached},
                                   {"rows", summary.rows},
                                   {"ranks", world->size()},
                                   {"seconds", seconds},
                                   {"rows_per_s", rate},
                                   {"bytes", summary.bytes},
                                   {"bytes_per_row", row_bytes},
                                   {"output", options.output}};
    std::cout << object.dump() << "\n";
  } else {
    std::cout << options.output << ": " << summary.episodes << " episodes (" << summary.reached
              << " reached their goal), " << summary.rows << " rows, " << summary.bytes / 1000000
              << " MB (" << static_cast<i64>(row_bytes) << " bytes a row), "
              << static_cast<i64>(rate) << " rows/s\n";
  }
}

}  // namespace

void add_record(CLI::App& app, int&) {
  auto* verb = app.add_subcommand(
      "record", "play a policy and write a data set; mpirun -n N orrery record: N ranks do it");
  const auto options = std::make_shared<Options>();
  RecordOptions& recording = options->recording;
  verb->add_option("--env", recording.environment,
                   "tworoom, pusht or another variant of it, with its options after a colon")
      ->capture_default_str();
  verb->add_option("--policy", recording.policy, "expert, random, mixed, weak or replay")
      ->capture_default_str();
  verb->add_option("--episodes", recording.episodes, "how many")->capture_default_str();
  verb->add_option("--seed", recording.seed, "decides everything")->capture_default_str();
  verb->add_option("--output", options->output, "the HDF5 file to make")->required();
  auto* steps = verb->add_option("--max-steps", recording.max_steps,
                                 "actions of an episode at most [100; replay: all]");
  auto* size =
      verb->add_option("--image-size", recording.image_size, "pixels a side [the environment's]");
  auto* noise = verb->add_option("--noise", options->noise,
                                 "standard deviation on actions [expert: 2, replay: 0.05]");
  verb->add_option("--demonstrations", options->demonstrations,
                   "what replay plays: a recording, or npz with action, state, episode_ends; "
                   "several are one after the other");
  auto* fold = verb->add_option("--fold", options->fold,
                                "K/N: play demonstrations K, K+N, K+2N, ... alone (from 0)");
  verb->add_option("--without-fold", options->without_fold, "K/N: play all but those")
      ->excludes(fold);
  verb->add_flag("--in-place", options->in_place,
                 "replay where it was recorded, not turned and shifted");
  verb->add_flag("--no-pixels", options->no_pixels,
                 "without pictures: they are drawn when they are read");
  verb->add_flag("--compact", options->compact,
                 "without pictures, and only action, state (float32), step and episode");
  verb->add_flag("--actions", options->actions,
                 "without pictures and states, which are simulated again when they are read: the "
                 "smallest, for the same build of the simulator")
      ->excludes("--compact");
  verb->add_option("--bits", recording.bits,
                   "significant bits of --compact and of the actions of --actions: 24 is float32, "
                   "16 a third smaller")
      ->check(CLI::Range(8, 24))
      ->capture_default_str();
  verb->add_option("--layout", options->layout,
                   "release: frames compressed, in chunks of 100; current: plain, a chunk a row; "
                   "packed: everything compressed [release; without pictures: packed]")
      ->check(CLI::IsMember({"release", "current", "packed"}));
  verb->add_option("--threads", options->threads, "0: all cores");
  options->ranks.add_to(*verb);
  verb->add_flag("--json", options->json, "print one JSON object");
  options->reset.add_to(*verb);
  verb->callback([options, steps, size, noise] {
    options->has_steps = steps->count() > 0;
    options->has_size = size->count() > 0;
    options->has_noise = noise->count() > 0;
    run(*options);
  });
}

}  // namespace orrery::cli
