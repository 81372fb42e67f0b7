#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "eval/distance_curve.h"
#include "eval/prediction_error.h"
#include "eval/probes.h"
#include "models/lewm/statistics.h"

namespace orrery {

// What a model's latents are worth, measured on recorded frames: how far they spread, how well the
// predictor foretells them, how much of the world's state is in them, and what their distances say.

struct StudyOptions {
  i64 frames = 1000;                 // held out, that everything is measured on
  i64 learn_frames = 3000;           // that probes learn from; 0: no probes
  i64 horizons = 5;                  // blocks foretold; 0: none
  i64 history = 0;                   // context frames, 0: the predictor's window
  i64 pairs = 10'000;                // of frames, for the distance curve; 0: none
  double penalty = 1e-4;             // of the probes' ridge
  i64 mlp_steps = 0;                 // of probes that are networks, beside these; 0: none
  u64 seed = 0;                      // of the choice of frames and pairs
  std::vector<std::string> columns;  // to probe for; none: what is known of the recording
};

struct Study {
  i64 frames = 0, learn_frames = 0;
  std::vector<double> latent_std;  // of each number, population
  double effective_rank = 0;       // as train/validation.h: participation ratio
  PredictionErrors prediction;
  std::vector<ProbeScore> probes;      // linear
  std::vector<ProbeScore> mlp_probes;  // of networks, the same quantities, or none
  std::optional<DistanceCurve> distance;

  double mean_std() const;
};

// Episodes of a recording, some to learn from and some held out; they may be of two recordings.
struct StudyData {
  const Episodes& learn;
  std::vector<i64> learn_episodes;
  const Episodes& held_out;
  std::vector<i64> held_out_episodes;
};

// steady
Study study_model(Context& ctx, const lewm::Model& model, const lewm::Statistics& statistics,
                  const StudyData& data, const StudyOptions& options);

// {"frames", "learn_frames", "latent": {"width", "std", "effective_rank", "stds": [..]},
//  "prediction": {"history", "windows", "variance", "horizons": [{"blocks", "error", "relative",
//  "unchanged", "relative_unchanged"}]}, "probes": [{"name", "mse", "r", "components": [{"name",
//  "mse", "r"}]}], "mlp_probes": the same of networks, "distance_curve": see distance_curve.h, or
//  null}
nlohmann::json json_from_study(const Study& study);
std::string lines_of(const Study& study);

}  // namespace orrery
