#include "models/lewm/statistics.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"

namespace orrery::lewm {

namespace {

std::vector<double> numbers(const nlohmann::json& root, const char* group, const char* key,
                            const std::string& where) {
  check(root.contains(group) && root.at(group).is_object() && root.at(group).contains(key), where,
        ": ", group, ".", key, " is missing");
  const nlohmann::json& list = root.at(group).at(key);
  check(list.is_array() && !list.empty() && list.size() <= 4096, where, ": ", group, ".", key,
        " must be a list of numbers");
  std::vector<double> values;
  for (const auto& value : list) {
    check(value.is_number() && std::isfinite(value.get<double>()), where, ": ", group, ".", key,
          " holds something else than finite numbers");
    values.push_back(value.get<double>());
  }
  return values;
}

}  // namespace

Statistics read_statistics(const std::filesystem::path& path) {
  const nlohmann::json root = read_json(path);
  const std::string where = path.string();
  check(root.is_object(), where, " is no object");
  Statistics statistics;
  statistics.action_mean = numbers(root, "action", "mean", where);
  statistics.action_std = numbers(root, "action", "std", where);
  check(statistics.action_mean.size() == statistics.action_std.size(), where, ": action.mean has ",
        statistics.action_mean.size(), " numbers, action.std ", statistics.action_std.size());
  for (const double deviation : statistics.action_std) {
    check(deviation > 0, where, ": action.std holds ", deviation, ", positive numbers are needed");
  }
  if (root.contains("pixels")) {
    statistics.pixel_mean = numbers(root, "pixels", "mean", where);
    statistics.pixel_std = numbers(root, "pixels", "std", where);
  }
  check(root.contains("frameskip") && root.at("frameskip").is_number_integer() &&
            root.at("frameskip") >= 1 && root.at("frameskip") <= 1000,
        where, ": frameskip must be an integer from 1 to 1000");
  statistics.frameskip = root.at("frameskip").get<i64>();
  if (root.contains("environment")) {
    check(root.at("environment").is_string(), where, ": environment is ",
          root.at("environment").type_name(), ", text was needed");
    statistics.environment = root.at("environment").get<std::string>();
  }
  return statistics;
}

nlohmann::json json_from_statistics(const Statistics& statistics) {
  nlohmann::json root = {
      {"action", {{"mean", statistics.action_mean}, {"std", statistics.action_std}}},
      {"pixels", {{"mean", statistics.pixel_mean}, {"std", statistics.pixel_std}}},
      {"frameskip", statistics.frameskip},
      {"action_dim", statistics.action_dim()}};
  if (!statistics.environment.empty()) root["environment"] = statistics.environment;
  return root;
}

std::optional<Statistics> statistics_of_model(const std::filesystem::path& model) {
  const auto folder = std::filesystem::is_directory(model) ? model : model.parent_path();
  const auto path = folder / "statistics.json";
  if (!std::filesystem::exists(path)) return std::nullopt;
  return read_statistics(path);
}

}  // namespace orrery::lewm
