#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/dist/command.h"

namespace orrery {

// A recording and a configuration so small that `orrery train` is through in a second.

// eight episodes of TwoRoom in `folder` / episodes.h5; an exception when the program fails
void record_small_episodes(const TestFolder& folder);
// the smallest model with these keys of `training` over common ones, in `folder` / `name`
void write_small_configuration(const TestFolder& folder, const std::string& name,
                               const nlohmann::json& training);
// the lines of a run's metrics.jsonl
std::vector<nlohmann::json> metrics_of(const std::filesystem::path& run);

}  // namespace orrery
