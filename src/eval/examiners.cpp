#include "eval/examiners.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "data/chosen_episodes.h"
#include "data/drawing.h"

namespace orrery {

namespace {

// beside the training's own recording: examiners read a few episodes, one after the other
constexpr i64 kCacheBytes = i64{64} << 20;

lewm::Model model_of(Context& ctx, const lewm::Weights& weights) {
  lewm::Weights copy(weights.config);
  std::memcpy(copy.parameters.bytes(), weights.parameters.bytes(),
              static_cast<std::size_t>(weights.parameters.byte_count()));
  std::memcpy(copy.buffers.bytes(), weights.buffers.bytes(),
              static_cast<std::size_t>(weights.buffers.byte_count()));
  copy.batches_tracked = weights.batches_tracked;
  return lewm::Model(ctx, std::move(copy));
}

bool every(i64 interval, i64 step, bool last) {
  return interval > 0 && (last || step % interval == 0);
}

EpisodeSplit split_of(const Episodes& episodes, const train::TrainingSettings& settings) {
  return split_episodes(episodes.count(), 1.0 - settings.validation_fraction, settings.seed);
}

Protocol protocol_of(const train::TrainingSettings& settings) {
  Protocol protocol;
  protocol.episodes = settings.success_episodes;
  protocol.plan.action_block = settings.frameskip;
  protocol.planner.samples = settings.success_samples;
  protocol.planner.elites = std::max<i64>(2, settings.success_samples / 10);
  protocol.planner.iterations = settings.success_iterations;
  return protocol;
}

}  // namespace

StudyExaminer::StudyExaminer(Context& ctx, std::unique_ptr<Episodes> episodes, EpisodeSplit split,
                             lewm::Statistics statistics, const StudyOptions& options, i64 every)
    : ctx_(ctx),
      episodes_(std::move(episodes)),
      split_(std::move(split)),
      statistics_(std::move(statistics)),
      options_(options),
      every_(every),
      quantities_(quantities_of(*episodes_, options.columns)) {}

bool StudyExaminer::due(i64 step, bool last) const { return every(every_, step, last); }

std::vector<std::string> StudyExaminer::names() const {
  std::vector<std::string> names;
  for (i64 k = 1; k <= options_.horizons; ++k) {
    names.push_back(text("horizon_", k));
    names.push_back(text("horizon_", k, "_unchanged"));
  }
  if (options_.learn_frames > 0) {
    for (const StateQuantity& quantity : quantities_) {
      names.push_back("probe_" + quantity.name);
      names.push_back("probe_" + quantity.name + "_r");
    }
  }
  if (options_.pairs > 0) {
    if (!quantities_.empty()) names.push_back("distance_rank");
    names.push_back("cost_falls");
  }
  names.push_back("latent_std_least");
  return names;
}

std::vector<train::Measure> StudyExaminer::examine(i64, const lewm::Weights& weights) {
  const lewm::Model model = model_of(ctx_, weights);
  const Study study =
      study_model(ctx_, model, statistics_,
                  {*episodes_, split_.train, *episodes_, split_.validation}, options_);
  std::vector<train::Measure> measures;
  for (const PredictionErrors::Horizon& horizon : study.prediction.horizons) {
    const std::string name = text("horizon_", horizon.blocks);
    measures.push_back({name, study.prediction.relative(horizon)});
    measures.push_back({name + "_unchanged", study.prediction.relative_unchanged(horizon)});
  }
  for (const ProbeScore& score : study.probes) {
    measures.push_back({"probe_" + score.name, score.mse});
    measures.push_back({"probe_" + score.name + "_r", score.r, true});
  }
  if (study.distance) {
    if (!quantities_.empty()) {
      measures.push_back({"distance_rank", study.distance->main()->within.rank_correlation, true});
    }
    measures.push_back({"cost_falls", study.distance->cost_falls(), true});
  }
  measures.push_back({"latent_std_least",
                      *std::min_element(study.latent_std.begin(), study.latent_std.end()), true});
  return measures;
}

SuccessExaminer::SuccessExaminer(Context& ctx, const Episodes& starts, std::string environment,
                                 lewm::Statistics statistics, const Protocol& protocol, i64 every)
    : ctx_(ctx),
      environment_(std::move(environment)),
      statistics_(std::move(statistics)),
      protocol_(protocol),
      every_(every) {
  const auto made = make_environment(environment_);
  cases_ = load_cases(starts, *made, protocol_);
}

bool SuccessExaminer::due(i64 step, bool last) const { return every(every_, step, last); }

std::vector<train::Measure> SuccessExaminer::examine(i64, const lewm::Weights& weights) {
  const lewm::Model model = model_of(ctx_, weights);
  EvaluateOptions options;
  options.environment = environment_;
  // as orrery eval: a CPU's caches hold a few, a device plans for all at once
  options.side_by_side = ctx_.device() == Device::cpu ? 8 : 0;
  const auto records = evaluate_cases(ctx_, {model, statistics_}, protocol_, cases_, options);
  double reached = 0, distance = 0;
  for (const EpisodeRecord& record : records) {
    reached += record.success ? 1 : 0;
    distance += record.distances.back();
  }
  const auto count = static_cast<double>(records.size());
  return {{"success", 100 * reached / count, true}, {"goal_distance", distance / count}};
}

std::string environment_of(const Episodes& episodes) {
  const auto width = [&](const char* name) {
    const i64 index = episodes.find_column(name);
    return index < 0 ? 0 : episodes.column(index).width();
  };
  if (!episodes.drawing().empty()) {
    const std::string name =
        drawing_from_text(episodes.drawing(), episodes.name() + ": its drawing").environment;
    return name.substr(0, name.find(':'));
  }
  if (width("state") == 7 && width("action") == 2) return "pusht";
  if (width("pos_agent") == 2 && width("pos_target") == 2) return "tworoom";
  return {};
}

std::vector<std::unique_ptr<train::Examiner>> examiners_for(Context& ctx,
                                                            const std::filesystem::path& data,
                                                            const train::TrainingSettings& settings,
                                                            const lewm::Statistics& statistics,
                                                            i64 image_size) {
  std::vector<std::unique_ptr<train::Examiner>> examiners;
  const auto open = [&](const std::filesystem::path& path) {
    return open_episodes(path, {.cache_bytes = kCacheBytes, .image_size = image_size});
  };
  const bool holds_out = settings.validation_fraction > 0;
  if (holds_out && settings.validation_every > 0 && settings.probe_frames > 0) {
    StudyOptions options;
    options.frames = settings.probe_frames;
    options.learn_frames = 3 * settings.probe_frames;
    auto episodes = open(data);
    EpisodeSplit split = split_of(*episodes, settings);
    // of a single episode nothing is held out
    if (!split.validation.empty()) {
      examiners.push_back(std::make_unique<StudyExaminer>(ctx, std::move(episodes),
                                                          std::move(split), statistics, options,
                                                          settings.validation_every));
    }
  }
  if (settings.success_every > 0) {
    std::unique_ptr<Episodes> starts;
    if (!settings.success_data.empty()) {
      starts = open(settings.success_data);
    } else {
      check(holds_out,
            "success during training needs starts that are not trained on: training."
            "success_data, or a validation_fraction above 0");
      starts = open(data);
      const EpisodeSplit split = split_of(*starts, settings);
      starts = chosen_episodes(std::move(starts), split.validation);
    }
    std::string environment = settings.success_env;
    if (environment.empty()) environment = environment_of(*starts);
    check(!environment.empty(), starts->name(),
          ": which environment it is of cannot be seen; say it as training.success_env");
    examiners.push_back(std::make_unique<SuccessExaminer>(
        ctx, *starts, environment_drawn_as(official_environment(environment), *starts), statistics,
        protocol_of(settings), settings.success_every));
  }
  return examiners;
}

}  // namespace orrery
