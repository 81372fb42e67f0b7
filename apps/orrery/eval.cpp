#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "data/recorder.h"
#include "data/statistics.h"
#include "device_options.h"
#include "dist/share.h"
#include "eval/distance_curve.h"
#include "eval/evaluate.h"
#include "eval/films.h"
#include "eval/kept.h"
#include "eval/report.h"
#include "eval/results.h"
#include "eval/seeds.h"
#include "eval/shared_evaluate.h"
#include "io/json.h"
#include "media/video.h"
#include "planner_options.h"
#include "progress.h"
#include "rank_options.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

struct Options {
  std::string environment = "tworoom";
  std::string model, data, report, output, films, kept;
  std::string range, batch, criterion = "published";
  std::vector<u64> seeds = {42};
  i64 recorded_episodes = 100;
  bool official_reset = false;
  bool table = false;
  bool trace = false;
  i64 distance_pairs = 10'000;
  i64 distance_frames = 1000;
  Protocol protocol;
  PlannerOptions planner;
  DeviceOptions device;
  RankOptions ranks;
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

// The recording that starts and goals were asked to come from.
std::unique_ptr<Episodes> given_starts(const Options& options, i64 image_size) {
  // drawn pictures have the size that the environment was asked for, else the model's
  const bool asked = options.environment.find("size=") != std::string::npos;
  const i64 side = asked ? make_environment(options.environment)->frame_height() : image_size;
  return open_episodes(options.data, {.image_size = side});
}

// Starts and goals: the given recording, or fresh episodes of the environment's expert with the
// published noise, from a seed that is far from those people record training data with.
std::unique_ptr<Episodes> starts_for(Context& ctx, const Options& options, u64 seed, i64 image_size,
                                     const std::filesystem::path& folder) {
  if (!options.data.empty()) return given_starts(options, image_size);
  const auto environment = make_environment(options.environment);
  std::vector<float> action(static_cast<std::size_t>(environment->action_dim()));
  check(environment->expert_action(action), options.environment,
        " has no scripted expert to record starts and goals with: give --data");
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

// With the options that follow from what else was asked for, among them the size of pictures.
std::string environment_for(const Options& options, i64 image_size) {
  std::string name = official_environment(options.environment);
  if (options.official_reset) {
    check(name.rfind("pusht", 0) == 0,
          "--official-reset is of PushT, whose block may go on moving; ", name, " was asked for");
    name += text(name.find(':') == std::string::npos ? ":" : ",", "motion=kept");
  }
  if (options.data.empty()) return name;
  return environment_drawn_as(name, *given_starts(options, image_size));
}

// One sentence about a model that learned something else than what it is asked to play.
void warn_of_another_environment(const Options& options, const lewm::Statistics& statistics) {
  // variants of one environment have a hyphen between
  const auto family = [](const std::string& name) {
    return name.substr(0, name.find_first_of(":-"));
  };
  if (statistics.environment.empty()) return;
  if (family(statistics.environment) == family(options.environment)) return;
  tell_user(text(options.model, " learned from a recording of ", statistics.environment, ", and ",
                 options.environment, " is what it will play"));
}

// how many episodes are played side by side, 0 for all
i64 side_by_side_of(const std::string& batch, const Context& ctx) {
  if (batch == "all") return 0;
  // on the CPU plans are made one by one anyway: small groups are finished, and kept, sooner
  if (batch.empty()) return ctx.device() == Device::cpu ? 8 : 0;
  i64 count = 0;
  const auto [end, problem] = std::from_chars(batch.data(), batch.data() + batch.size(), count);
  check(problem == std::errc() && end == batch.data() + batch.size() && count >= 1, "--batch is \"",
        batch, "\", needed a number from 1 up, or all");
  return count;
}

std::filesystem::path film_path(const Options& options, u64 seed, const EpisodeRecord& record) {
  return std::filesystem::path(options.films) /
         text("seed-", seed, "-episode-", record.index, record.success ? "" : "-failed", ".mp4");
}

// Writes the films that were asked for, and lets go of pictures that nobody needs any more.
void film(const Options& options, u64 seed, std::span<EpisodeRecord> records) {
  if (options.films.empty()) return;
  for (EpisodeRecord& record : records) {
    write_film(film_path(options, seed, record), record);
    if (options.report.empty()) record.film.clear();
  }
}

// What belongs to the whole command and not to one seed.
class Run {
 public:
  // threads: 0 for what suits; tells: whether this process speaks to the user
  Run(Options& options, int threads, bool tells)
      : options_(options),
        ctx_(with_threads(options.device.context(), threads)),
        model_(ctx_, lewm::load_model(options.model), options.device.precision()),
        environment_(environment_for(options, model_.config().encoder.image_size)) {
    Protocol& protocol = options_.protocol;
    protocol.planner = options.planner.choice();
    protocol.objective = options.planner.objective(options.model, model_.config().latent());
    if (options.criterion == "held") protocol.criterion.kind = Criterion::Kind::held;
    if (auto shipped = lewm::statistics_of_model(options.model)) {
      protocol.plan.action_block = shipped->frameskip;
      if (tells) warn_of_another_environment(options, *shipped);
    }
    side_by_side_ = side_by_side_of(options.batch, ctx_);
    if (!options.batch.empty()) protocol.planner.batch_size = 0;
    if (!options.films.empty()) {
      check(has_video(), "--films needs FFmpeg's libraries, which this build lacks");
      std::filesystem::create_directories(options.films);
    }
  }

  Evaluation play(u64 seed) {
    Protocol& protocol = options_.protocol;
    protocol.seed = seed;
    const auto episodes =
        starts_for(ctx_, options_, seed, model_.config().encoder.image_size, folder_.path());
    const lewm::Statistics statistics = statistics_for(options_, *episodes);

    std::optional<Progress> progress;
    EvaluateOptions how = common();
    how.kept = kept(statistics);
    how.progress = [&](i64 step, i64 steps, i64 solved) {
      if (!progress) progress.emplace("evaluating", steps, "steps");
      progress->update(step, std::to_string(solved) + " reached");
    };
    how.finished = [&](std::span<EpisodeRecord> records) { film(options_, seed, records); };
    Evaluation evaluation = evaluate(ctx_, model_, statistics, protocol, *episodes, how);
    evaluation.environment = options_.environment;
    evaluation.model = options_.model;
    if (options_.data.empty()) evaluation.data = "freshly recorded expert episodes";
    return evaluation;
  }

  // What the evaluation of a seed says beside the episodes to be played: those that are kept are
  // there already.
  Evaluation begun(u64 seed) {
    const Stage& stage = stage_of(seed);
    Evaluation evaluation;
    evaluation.environment = options_.environment;
    evaluation.model = options_.model;
    evaluation.data =
        options_.data.empty() ? "freshly recorded expert episodes" : stage.episodes->name();
    evaluation.parameters = model_.weights().parameters.numel();
    evaluation.protocol = options_.protocol;
    evaluation.gallery = stage.gallery.frames;
    if (const KeptEpisodes* episodes = kept(stage.statistics)) {
      for (const EvalCase& one : stage.cases) {
        if (const EpisodeRecord* known = episodes->find(seed, one)) {
          evaluation.episodes.push_back(*known);
        }
      }
    }
    return evaluation;
  }

  // Some cases of a seed, in one group.
  std::vector<EpisodeRecord> play_cases(u64 seed, i64 first, i64 count,
                                        const dist::GoesOn& goes_on) {
    const Stage& stage = stage_of(seed);
    EvaluateOptions how = common();
    how.side_by_side = 0;
    if (how.films) how.shown_as = &stage.gallery;
    how.progress = [&](i64, i64, i64) { check(goes_on(), "the evaluation was stopped"); };
    const auto cases =
        std::span(stage.cases)
            .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
    return evaluate_cases(ctx_, {model_, stage.statistics}, options_.protocol, cases, how);
  }

  // Cases that ranks take at a time. On the CPU any number gives the same; a device is filled, and
  // gives the same to the last bit for one size.
  i64 group_for(int ranks) const {
    const i64 cases = options_.protocol.episodes * static_cast<i64>(options_.seeds.size());
    if (!options_.batch.empty() && side_by_side_ > 0) return side_by_side_;
    if (ctx_.device() == Device::cpu) return group_for_ranks(cases, ranks, side_by_side_);
    return std::max<i64>(1, (options_.protocol.episodes + ranks - 1) / ranks);
  }

  // Keeps finished episodes where --resume says.
  KeptEpisodes* kept_file() { return kept_ ? &*kept_ : nullptr; }

  // what the command was told beyond the protocol
  void add_to(nlohmann::json& result) const {
    result["protocol"]["environment"] = environment_;
    result["protocol"]["reset"] = options_.official_reset ? "official" : "motionless";
    result["device"] = options_.device.chosen().device;
    result["precision"] = options_.device.chosen().precision;
  }

 private:
  static Context::Options with_threads(Context::Options options, int threads) {
    options.threads = threads;
    return options;
  }

  EvaluateOptions common() const {
    EvaluateOptions how;
    how.environment = environment_;
    how.side_by_side = side_by_side_;
    how.films = !options_.report.empty() || !options_.films.empty();
    if (!options_.films.empty()) how.film_side = 224;
    return how;
  }

  // What a rank has of the seed it plays for.
  struct Stage {
    std::unique_ptr<Episodes> episodes;
    lewm::Statistics statistics;
    std::vector<EvalCase> cases;
    Gallery gallery;
  };
  // makes it when it is another seed's than the last one
  const Stage& stage_of(u64 seed) {
    if (stage_.episodes != nullptr && options_.protocol.seed == seed) return stage_;
    stage_ = {};
    options_.protocol.seed = seed;
    stage_.episodes =
        starts_for(ctx_, options_, seed, model_.config().encoder.image_size, folder_.path());
    stage_.statistics = statistics_for(options_, *stage_.episodes);
    const auto environment = make_environment(environment_);
    stage_.cases = load_cases(*stage_.episodes, *environment, options_.protocol);
    const EvaluateOptions how = common();
    if (how.films) stage_.gallery = make_gallery(ctx_, model_, *stage_.episodes, how.gallery);
    return stage_;
  }

  // the file of finished episodes, one for all seeds; null when none was asked for
  KeptEpisodes* kept(const lewm::Statistics& statistics) {
    if (options_.kept.empty()) return nullptr;
    nlohmann::json settings = settings_of(environment_, model_, statistics, options_.protocol);
    settings["device"] = options_.device.chosen().device;
    settings["precision"] = options_.device.chosen().precision;
    if (!kept_) kept_.emplace(options_.kept, settings);
    return &*kept_;
  }

  Options& options_;
  Context ctx_;
  lewm::Model model_;
  std::string environment_;
  i64 side_by_side_ = 0;
  TemporaryFolder folder_;
  std::optional<KeptEpisodes> kept_;
  Stage stage_;
};

// All seeds played by all ranks of a world. Ranks that only help come to nothing.
class RunOnRanks {
 public:
  RunOnRanks(dist::World& world, Options& options) : world_(world), options_(options) {
    for (const u64 seed : options.seeds) {
      if (std::find(seeds_.begin(), seeds_.end(), seed) == seeds_.end()) seeds_.push_back(seed);
    }
    all_ = options.protocol.episodes * static_cast<i64>(seeds_.size());
  }

  std::vector<Evaluation> play() {
    stop_requested();  // from here on Ctrl-C is an orderly end
    SharedEvaluation shared;
    shared.seeds = seeds_;
    shared.episodes = options_.protocol.episodes;
    shared.silence_s = options_.ranks.silence_s;
    shared.start = [this] { return start(); };
    shared.group = [this] {
      // the file of kept episodes, the model, the data: without them there is no evaluation
      if (failure_) std::rethrow_exception(failure_);
      return run_->group_for(world_.size());
    };
    shared.known = [this](u64 seed, i64 index) {
      const auto& episodes = evaluations_.at(seed).episodes;
      return std::any_of(episodes.begin(), episodes.end(),
                         [index](const EpisodeRecord& one) { return one.index == index; });
    };
    shared.keep = [this](u64 seed, std::vector<EpisodeRecord> records) {
      keep(seed, std::move(records));
    };
    shared.goes_on = [] { return !stop_requested(); };
    shared.tell = tell_user;
    check(evaluate_shared(world_, shared), "evaluation stopped after ", finished_, " of ", all_,
          " episodes", options_.kept.empty() ? "" : "; they are in " + options_.kept);

    std::vector<Evaluation> result;
    if (world_.rank() != 0) return result;
    for (const u64 seed : options_.seeds) {
      auto& episodes = evaluations_.at(seed).episodes;
      std::sort(episodes.begin(), episodes.end(),
                [](const EpisodeRecord& a, const EpisodeRecord& b) { return a.index < b.index; });
      result.push_back(evaluations_.at(seed));
    }
    return result;
  }

  const Run& run() const { return *run_; }

 private:
  // In the thread that plays, where everything of a device is done.
  SharedEvaluation::Cases start() {
    try {
      const auto run = std::make_shared<Run>(
          options_, options_.ranks.threads(world_, options_.device.chosen().threads),
          world_.rank() == 0);
      if (world_.rank() == 0) {
        for (const u64 seed : seeds_) evaluations_.emplace(seed, run->begun(seed));
        run_ = run;
      }
      return [run](u64 seed, i64 first, i64 count, const dist::GoesOn& goes_on) {
        return run->play_cases(seed, first, count, goes_on);
      };
    } catch (...) {
      failure_ = std::current_exception();
      throw;
    }
  }

  void keep(u64 seed, std::vector<EpisodeRecord> records) {
    film(options_, seed, records);
    if (KeptEpisodes* file = run_->kept_file()) file->add(seed, records);
    Evaluation& evaluation = evaluations_.at(seed);
    for (EpisodeRecord& record : records) {
      ++finished_;
      reached_ += record.success;
      evaluation.episodes.push_back(std::move(record));
    }
    // of a seed: until its last episode was there
    evaluation.seconds = now_s() - begin_;
    if (!progress_) progress_.emplace("evaluating", all_, "episodes");
    progress_->update(finished_, std::to_string(reached_) + " reached");
  }

  dist::World& world_;
  Options& options_;
  std::vector<u64> seeds_;  // each once
  i64 all_ = 0, finished_ = 0, reached_ = 0;
  double begin_ = now_s();
  std::optional<Progress> progress_;
  // of rank 0
  std::exception_ptr failure_;
  std::shared_ptr<Run> run_;
  std::map<u64, Evaluation> evaluations_;
};

// Latent against state distance on the recording that starts come from, of the first seed.
std::optional<DistanceCurve> distances_of(Options& options) {
  if (options.distance_pairs == 0) return std::nullopt;
  Context ctx(options.device.context());
  const lewm::Model model(ctx, lewm::load_model(options.model), options.device.precision());
  const TemporaryFolder folder;
  const u64 seed = options.seeds.front();
  const auto episodes =
      starts_for(ctx, options, seed, model.config().encoder.image_size, folder.path());
  std::vector<i64> all(static_cast<std::size_t>(episodes->count()));
  std::iota(all.begin(), all.end(), i64{0});
  const EncodedFrames frames =
      encode_frames(ctx, model, *episodes, all,
                    {.stride = statistics_for(options, *episodes).frameskip,
                     .frames = options.distance_frames,
                     .seed = seed});
  const StateTable states(*episodes, quantities_of(*episodes), frames.rows);
  return distance_curve(frames, states, options.distance_pairs, seed);
}

void run(Options& options) {
  const auto world = dist::join_world();
  std::vector<Evaluation> evaluations;
  nlohmann::json result;
  const auto tell = [&](const Run& evaluations_of) {
    result = json_from_evaluations(evaluations, {.table = options.table, .traces = options.trace});
    evaluations_of.add_to(result);
    result["ranks"] = world->size();
    if (result.contains("runs")) {
      for (nlohmann::json& one : result["runs"]) evaluations_of.add_to(one);
    }
  };
  if (world->size() == 1) {
    if (!options.range.empty()) options.seeds = seeds_from_text(options.range);
    Run evaluations_of(options, options.device.chosen().threads, true);
    for (const u64 seed : options.seeds) evaluations.push_back(evaluations_of.play(seed));
    tell(evaluations_of);
  } else {
    try {
      if (!options.range.empty()) options.seeds = seeds_from_text(options.range);
    } catch (...) {
      return dist::take_no_part(*world, std::current_exception());
    }
    RunOnRanks evaluations_of(*world, options);
    evaluations = evaluations_of.play();
    if (world->rank() != 0) return;
    tell(evaluations_of.run());
  }
  const std::optional<DistanceCurve> curve = distances_of(options);
  result["distance_curve"] = curve ? json_from_distance_curve(*curve) : nlohmann::json();
  if (!options.output.empty()) write_json(options.output, result);
  if (!options.report.empty()) {
    write_report(options.report, evaluations, curve ? &*curve : nullptr);
  }
  if (options.json) {
    std::cout << result.dump(1) << "\n";
    return;
  }
  if (options.table) std::cout << table_of(evaluations);
  std::cout << lines_of(evaluations);
  if (curve) std::cout << sentence_of(*curve);
  if (!options.report.empty()) std::cout << "report: " << options.report << "\n";
}

}  // namespace

void add_eval(CLI::App& app, int&) {
  auto options = std::make_shared<Options>();
  Protocol& protocol = options->protocol;
  auto* verb = app.add_subcommand("eval",
                                  "play an environment with a model by the published protocol; "
                                  "mpirun -n N orrery eval: N ranks do it");
  verb->add_option("--env", options->environment,
                   "environment: tworoom, or pusht (as the official evaluation drives it, with "
                   "pictures as the recording has them), or one with its options")
      ->capture_default_str();
  verb->add_option("--model", options->model, "folder of a model, or its file of weights")
      ->required();
  verb->add_option("--data", options->data,
                   "recording to take starts and goals from; without it episodes are recorded");
  verb->add_option("--record-episodes", options->recorded_episodes,
                   "episodes to record without --data")
      ->capture_default_str();
  verb->add_option("--episodes", protocol.episodes, "episodes to play")->capture_default_str();
  auto* seed = verb->add_option("--seed", options->seeds, "one seed, or several for one run each")
                   ->capture_default_str();
  verb->add_option("--seeds", options->range, "the same as a range or a list: 0..9 or 0..4,42")
      ->excludes(seed);
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
  verb->add_option("--history", protocol.plan.history_len,
                   "frames a plan looks back on, one a block, with the actions between them")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--batch", options->batch,
                   "episodes played and planned for together, a number or all; changes no result "
                   "(default: 8 side by side on the CPU, all on a device)");
  options->planner.add_to(*verb);
  verb->add_flag("--original-start-rule", protocol.original_start_rule,
                 "choose start rows as before 2026-07-22");
  verb->add_flag("--official-reset", options->official_reset,
                 "pusht: leave the block the motion of the random reset before a start, as the "
                 "official evaluation does (here the seed decides it)");
  verb->add_flag("--drop-solved", protocol.drop_solved,
                 "replace starts that are at their goal already by others");
  verb->add_option("--criterion", options->criterion,
                   "published: the goal is reached after any step; held: after some steps in a "
                   "row, the block turned as the goal is")
      ->check(CLI::IsMember({"published", "held"}))
      ->capture_default_str();
  verb->add_option("--hold-steps", protocol.criterion.hold_steps, "held: steps in a row")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--hold-degrees", protocol.criterion.degrees,
                   "held: how far the block's angle may be from the goal's")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_flag("--table", options->table, "tell every episode too");
  verb->add_flag("--trace", options->trace,
                 "tell in the JSON how every plan was found: costs, spread and more by iteration");
  verb->add_option("--distance-pairs", options->distance_pairs,
                   "pairs of recorded frames, of one episode and of two, for the curve of latent "
                   "against state distance; 0: no curve")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--distance-frames", options->distance_frames,
                   "recorded frames that these pairs are drawn from, whole episodes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--films", options->films,
                   "write a film of every episode into this folder, MP4: agent and goal");
  verb->add_option("--resume", options->kept,
                   "keep finished episodes in this file, and do not play again what is in it");
  verb->add_option("--report", options->report,
                   "write a page with films and figures, one HTML file");
  verb->add_option("--output", options->output, "write the result as JSON");
  options->device.add_to(*verb);
  options->ranks.add_to(*verb);
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options] { run(*options); });
}

}  // namespace orrery::cli
