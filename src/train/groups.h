#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/lewm/weights.h"
#include "ops/adamw.h"

namespace orrery::train {

// Parameters that learn in a way of their own. The published rule has no such groups: all
// parameters are decayed and learn alike.
struct ParameterGroup {
  // regular expression (ECMAScript) that a tensor's released name must begin with: "encoder\\.",
  // ".*\\.bias$"
  std::string match;
  double lr_scale = 1.0;               // times the learning rate of the schedule; 0: does not learn
  std::optional<double> weight_decay;  // none: as all others
};

// The list `training.groups`; `where` names it in errors.
std::vector<ParameterGroup> groups_from_json(const nlohmann::json& node, const std::string& where);
nlohmann::json json_from_groups(const std::vector<ParameterGroup>& groups);

// The groups as stretches of the block of parameters. A tensor belongs to the first group that
// matches its name. A group that no tensor is left for is an Error, as is a pattern that cannot be
// read.
std::vector<AdamWGroup> stretches_of(const std::vector<ParameterGroup>& groups,
                                     const lewm::Config& config, double weight_decay);

}  // namespace orrery::train
