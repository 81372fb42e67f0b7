#include "eval/study.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>

#include "base/error.h"
#include "train/validation.h"

namespace orrery {

namespace {

using nlohmann::json;

json json_from_prediction(const PredictionErrors& errors) {
  json horizons = json::array();
  for (const PredictionErrors::Horizon& horizon : errors.horizons) {
    horizons.push_back({{"blocks", horizon.blocks},
                        {"error", horizon.error},
                        {"relative", errors.relative(horizon)},
                        {"unchanged", horizon.unchanged},
                        {"relative_unchanged", errors.relative_unchanged(horizon)}});
  }
  return {{"history", errors.history},
          {"windows", errors.windows},
          {"variance", errors.variance},
          {"horizons", horizons}};
}

json json_from_probes(const std::vector<ProbeScore>& scores) {
  json result = json::array();
  for (const ProbeScore& score : scores) {
    json components = json::array();
    for (const ProbeScore::Component& one : score.components) {
      components.push_back({{"name", one.name}, {"mse", one.mse}, {"r", one.r}});
    }
    result.push_back(
        {{"name", score.name}, {"mse", score.mse}, {"r", score.r}, {"components", components}});
  }
  return result;
}

}  // namespace

double Study::mean_std() const {
  return std::accumulate(latent_std.begin(), latent_std.end(), 0.0) /
         static_cast<double>(latent_std.size());
}

Study study_model(Context& ctx, const lewm::Model& model, const lewm::Statistics& statistics,
                  const StudyData& data, const StudyOptions& options) {
  const EncodeChoice choice{statistics.frameskip, options.frames, options.seed};
  const EncodedFrames frames =
      encode_frames(ctx, model, data.held_out, data.held_out_episodes, choice);
  const StateTable states(data.held_out, quantities_of(data.held_out, options.columns),
                          frames.rows);
  Study result;
  result.frames = frames.count();
  train::Covariance covariance(model.config().latent());
  covariance.add(frames.latents.view<float, 2>());
  result.latent_std = covariance.stds();
  result.effective_rank = covariance.participation_ratio();

  if (options.horizons > 0) {
    const ZScore scale(statistics.action_mean, statistics.action_std);
    result.prediction = prediction_errors(ctx, model, data.held_out, frames, scale,
                                          {options.horizons, options.history});
  }
  if (options.learn_frames > 0 && !states.quantities().empty()) {
    const EncodedFrames seen =
        encode_frames(ctx, model, data.learn, data.learn_episodes,
                      {statistics.frameskip, options.learn_frames, options.seed});
    const StateTable seen_states(data.learn, quantities_of(data.learn, options.columns), seen.rows);
    result.learn_frames = seen.count();
    result.probes = probe({seen, seen_states}, {frames, states}, options.penalty);
    result.mlp_probes = mlp_probe(ctx, {seen, seen_states}, {frames, states},
                                  {.steps = options.mlp_steps, .seed = options.seed});
  }
  if (options.pairs > 0) {
    result.distance = distance_curve(frames, states, options.pairs, options.seed);
  }
  return result;
}

json json_from_study(const Study& study) {
  return {{"frames", study.frames},
          {"learn_frames", study.learn_frames},
          {"latent",
           {{"width", study.latent_std.size()},
            {"std", study.mean_std()},
            {"effective_rank", study.effective_rank},
            {"stds", study.latent_std}}},
          {"prediction", json_from_prediction(study.prediction)},
          {"probes", json_from_probes(study.probes)},
          {"mlp_probes", json_from_probes(study.mlp_probes)},
          {"distance_curve", study.distance ? json_from_distance_curve(*study.distance) : json()}};
}

std::string lines_of(const Study& study) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(3) << "latent of " << study.latent_std.size()
      << " numbers over " << study.frames << " held-out frames: standard deviation "
      << study.mean_std() << " ("
      << *std::min_element(study.latent_std.begin(), study.latent_std.end()) << " to "
      << *std::max_element(study.latent_std.begin(), study.latent_std.end()) << "), effective rank "
      << std::setprecision(2) << study.effective_rank << "\n";
  const PredictionErrors& errors = study.prediction;
  if (!errors.horizons.empty()) {
    out << "prediction from " << errors.history << " frame" << (errors.history == 1 ? "" : "s")
        << ", " << errors.windows
        << " windows; squared error as a share of the latent's variance\n"
           "  blocks ahead  error  nothing changes\n";
    for (const PredictionErrors::Horizon& horizon : errors.horizons) {
      out << std::setw(14) << horizon.blocks << std::setprecision(4) << std::setw(7)
          << errors.relative(horizon) << std::setw(17) << errors.relative_unchanged(horizon)
          << "\n";
    }
  }
  if (!study.probes.empty()) {
    const bool both = !study.mlp_probes.empty();
    out << (both ? "linear and MLP" : "linear") << " probes learned from " << study.learn_frames
        << " frames; error of standardised values\n"
        << "                      mse      r" << (both ? "      mlp mse      r\n" : "\n");
    const auto put = [&](const ProbeScore& score, int width) {
      out << std::setprecision(4) << std::setw(width) << score.mse << std::setprecision(3)
          << std::setw(7) << score.r;
    };
    for (std::size_t q = 0; q < study.probes.size(); ++q) {
      out << "  " << std::left << std::setw(16) << study.probes[q].name << std::right;
      put(study.probes[q], 7);
      if (both) put(study.mlp_probes[q], 13);
      out << "\n";
    }
  }
  if (study.distance) out << lines_of(*study.distance);
  return out.str();
}

}  // namespace orrery
