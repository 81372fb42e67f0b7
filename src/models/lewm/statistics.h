#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/types.h"

namespace orrery::lewm {

// What a model must know of the data it learned from: statistics.json beside its weights,
//
//   {"action": {"mean": [..], "std": [..]}, "pixels": {"mean": [3], "std": [3]}, "frameskip": 5,
//   "action_dim": 2, "environment": "pusht"}
//
// where pixels and environment may be missing.
// Actions reach the model z-scored; released checkpoints ship without these numbers, and feeding
// raw actions fails quietly.
struct Statistics {
  std::vector<double> action_mean;  // [raw action width]
  std::vector<double> action_std;   // population
  std::vector<double> pixel_mean;   // of each colour, 0 to 1, what normalisation takes off
  std::vector<double> pixel_std;
  i64 frameskip = 5;  // environment steps per action block
  // that the recording is of, "pusht" or "tworoom"; empty: unknown
  std::string environment = "";

  i64 action_dim() const { return static_cast<i64>(action_mean.size()); }
};

// Error when a number is missing, not finite, or no std is positive.
Statistics read_statistics(const std::filesystem::path& path);
// The file's contents.
nlohmann::json json_from_statistics(const Statistics& statistics);

// Those of a model folder (or of the folder of a file of weights), if it has any.
std::optional<Statistics> statistics_of_model(const std::filesystem::path& model);

}  // namespace orrery::lewm
