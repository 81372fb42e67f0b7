#include "train/groups.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>

namespace orrery::train {

namespace {

using nlohmann::json;

std::regex pattern_of(const std::string& match) {
  try {
    return std::regex(match, std::regex::ECMAScript | std::regex::optimize);
  } catch (const std::regex_error& error) {
    fail("training.groups: \"", match, "\" is no regular expression: ", error.what());
  }
}

double number_from(const json& value, const std::string& name, double most) {
  check(value.is_number() && value.get<double>() >= 0 && value.get<double>() <= most, name, " is ",
        value.dump().substr(0, 40), ", a number from 0 to ", most, " was needed");
  return value.get<double>();
}

}  // namespace

std::vector<ParameterGroup> groups_from_json(const json& node, const std::string& where) {
  check(node.is_array(), where, " is ", node.type_name(), ", a list was needed");
  std::vector<ParameterGroup> groups;
  for (const json& entry : node) {
    const std::string name = text(where, "[", groups.size(), "]");
    check(entry.is_object(), name, " is ", entry.type_name(), ", an object was needed");
    ParameterGroup group;
    for (const auto& [key, value] : entry.items()) {
      if (key == "match") {
        check(value.is_string(), name, ".match is ", value.type_name(), ", text was needed");
        group.match = value.get<std::string>();
      } else if (key == "lr_scale") {
        group.lr_scale = number_from(value, name + ".lr_scale", 1e6);
      } else if (key == "weight_decay") {
        group.weight_decay = number_from(value, name + ".weight_decay", 10.0);
      } else {
        fail(name, ".", key, " is unknown; match, lr_scale and weight_decay were expected");
      }
    }
    check(!group.match.empty(), name, " has no match");
    groups.push_back(std::move(group));
  }
  return groups;
}

json json_from_groups(const std::vector<ParameterGroup>& groups) {
  json node = json::array();
  for (const ParameterGroup& group : groups) {
    json entry = {{"match", group.match}, {"lr_scale", group.lr_scale}};
    if (group.weight_decay) entry["weight_decay"] = *group.weight_decay;
    node.push_back(entry);
  }
  return node;
}

std::vector<AdamWGroup> stretches_of(const std::vector<ParameterGroup>& groups,
                                     const lewm::Config& config, double weight_decay) {
  std::vector<std::regex> patterns;
  for (const ParameterGroup& group : groups) patterns.push_back(pattern_of(group.match));

  const lewm::Layout layout = lewm::layout_of(config);
  std::vector<const lewm::TensorSpec*> tensors;
  for (const lewm::TensorSpec& spec : layout.specs) {
    if (spec.trained) tensors.push_back(&spec);
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const auto* a, const auto* b) { return a->offset < b->offset; });

  std::vector<i64> members(groups.size(), 0);
  std::vector<AdamWGroup> stretches;
  for (const lewm::TensorSpec* tensor : tensors) {
    AdamWGroup stretch = {tensor->offset + tensor->shape.numel(), 1.0f,
                          static_cast<float>(weight_decay)};
    for (std::size_t i = 0; i < groups.size(); ++i) {
      if (!std::regex_search(tensor->name, patterns[i], std::regex_constants::match_continuous)) {
        continue;
      }
      ++members[i];
      stretch.lr_scale = static_cast<float>(groups[i].lr_scale);
      stretch.weight_decay = static_cast<float>(groups[i].weight_decay.value_or(weight_decay));
      break;
    }
    const bool alike = !stretches.empty() && stretches.back().lr_scale == stretch.lr_scale &&
                       stretches.back().weight_decay == stretch.weight_decay;
    if (alike) {
      stretches.back().end = stretch.end;
    } else {
      stretches.push_back(stretch);
    }
  }
  for (std::size_t i = 0; i < groups.size(); ++i) {
    check(members[i] > 0, "training.groups: no tensor is left for \"", groups[i].match, "\"");
  }
  return stretches;
}

}  // namespace orrery::train
