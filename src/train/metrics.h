#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "train/examine.h"
#include "train/step.h"

namespace orrery::train {

// metrics.jsonl: one JSON object a line, each with the number of optimiser steps taken before it
// was written:
//
//   {"step", "lr", "gradient_norm", the terms of the loss, "total",
//    "latent_std", "effective_rank",      of the step's last batch
//    "seconds", "samples_per_s"}          since the run began, breaks left out; since the line
//    before
//   {"step", "validation": {measure: value}}
//
// Two runs of one configuration write the same bytes but for the two times. A number that is not
// finite is null.
struct Pace {
  double seconds = 0;
  double samples_per_s = 0;
};

class Metrics {
 public:
  // Starts the file, or keeps its lines up to and including `resumed_step`. A last line that an
  // interruption cut short goes too.
  Metrics(std::filesystem::path path, bool resume, i64 resumed_step);

  void add_step(i64 step, double lr, const StepReport& report, const LatentSpread& spread,
                const Pace& pace);
  void add_measures(i64 step, const std::vector<Measure>& measures);

 private:
  void append(const nlohmann::json& line);
  std::filesystem::path path_;
};

}  // namespace orrery::train
