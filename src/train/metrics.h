#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "train/validation.h"

namespace orrery::train {

// metrics.jsonl: one JSON object a line, each with the number of optimiser steps taken before it
// was written. Times are left out, so that two runs of one configuration write the same bytes.
class Metrics {
 public:
  // Starts the file, or keeps its lines up to and including `resumed_step`. A last line that an
  // interruption cut short goes too.
  Metrics(std::filesystem::path path, bool resume, i64 resumed_step);

  void add_step(i64 step, double lr, const StepReport& report);
  void add_validation(i64 step, const ValidationReport& report);

 private:
  void append(const nlohmann::json& line);
  std::filesystem::path path_;
};

}  // namespace orrery::train
