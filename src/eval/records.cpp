#include "eval/records.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace orrery {

namespace {

using nlohmann::json;

template <typename T>
json json_from(T number) {
  const auto wide = static_cast<double>(number);
  if (std::isnan(wide)) return "nan";
  if (std::isinf(wide)) return wide > 0 ? "inf" : "-inf";
  return wide;
}

template <typename T>
json json_from(const std::vector<T>& values) {
  json result = json::array();
  for (const T& value : values) result.push_back(json_from(value));
  return result;
}

// The pieces of one record, each an error that names it when it is not as it should be.
class Reader {
 public:
  explicit Reader(const std::string& name) : name_(name) {}

  const json& member(const json& object, const char* key) const {
    check(object.is_object() && object.contains(key), name_, ": an episode lacks \"", key, "\"");
    return object.at(key);
  }
  i64 integer(const json& object, const char* key, i64 least) const {
    const json& value = member(object, key);
    check(value.is_number_integer() && (!value.is_number_unsigned() ||
                                        value.get<u64>() <= std::numeric_limits<i64>::max() / 2),
          name_, ": \"", key, "\" of an episode is not an integer that can be counted to");
    const i64 result = value.get<i64>();
    check(result >= least, name_, ": \"", key, "\" of an episode is ", result, ", at least ", least,
          " was needed");
    return result;
  }
  bool truth(const json& object, const char* key) const {
    const json& value = member(object, key);
    check(value.is_boolean(), name_, ": \"", key, "\" of an episode is not true or false");
    return value.get<bool>();
  }
  double number(const json& value, const char* key) const {
    if (value.is_number()) return value.get<double>();
    if (value == "nan") return std::numeric_limits<double>::quiet_NaN();
    if (value == "inf") return std::numeric_limits<double>::infinity();
    check(value == "-inf", name_, ": \"", key,
          "\" of an episode holds something else than numbers");
    return -std::numeric_limits<double>::infinity();
  }
  double number_of(const json& object, const char* key) const {
    return number(member(object, key), key);
  }
  const json& list(const json& object, const char* key) const {
    const json& value = member(object, key);
    check(value.is_array(), name_, ": \"", key, "\" of an episode is not a list");
    return value;
  }
  template <typename T>
  std::vector<T> numbers(const json& list, const char* key) const {
    check(list.is_array(), name_, ": \"", key, "\" of an episode holds something else than lists");
    std::vector<T> result;
    for (const json& value : list) result.push_back(static_cast<T>(number(value, key)));
    return result;
  }
  template <typename T>
  std::vector<T> numbers_of(const json& object, const char* key) const {
    return numbers<T>(list(object, key), key);
  }
  template <typename T>
  std::vector<std::vector<T>> rows_of(const json& object, const char* key) const {
    std::vector<std::vector<T>> rows;
    for (const json& row : list(object, key)) rows.push_back(numbers<T>(row, key));
    return rows;
  }

 private:
  const std::string& name_;
};

}  // namespace

json json_from_trace(const PlanTrace& trace) {
  json result = json::object();
  for (const TraceColumn& column : kTraceColumns) {
    const std::vector<double>& values = trace.*column.values;
    if (!values.empty()) result[column.name] = json_from(values);
  }
  return result;
}

json json_from_record(const EpisodeRecord& record) {
  json plans = json::array();
  for (const PlanRecord& plan : record.plans) {
    plans.push_back({{"step", plan.step},
                     {"ms", json_from(plan.plan_ms)},
                     {"cost", json_from(plan.cost)},
                     {"trace", json_from_trace(plan.trace)},
                     {"surprise", json_from(plan.surprise)},
                     {"goal_distance", json_from(plan.goal_distance)}});
  }
  return {{"index", record.index},
          {"row", record.start.row},
          {"episode", record.start.episode},
          {"step", record.start.step},
          {"success", record.success},
          {"already_solved", record.already_solved},
          {"steps", record.steps},
          {"reached_at", record.reached_at},
          {"random_success", record.random_success},
          {"distances", json_from(record.distances)},
          {"states", json_from(record.states)},
          {"actions", json_from(record.actions)},
          {"plans", plans}};
}

EpisodeRecord record_from_json(const json& value, const std::string& name) {
  const Reader read(name);
  EpisodeRecord record;
  record.index = read.integer(value, "index", 0);
  record.start = {read.integer(value, "row", 0), read.integer(value, "episode", 0),
                  read.integer(value, "step", 0)};
  record.success = read.truth(value, "success");
  record.already_solved = read.truth(value, "already_solved");
  record.steps = read.integer(value, "steps", 0);
  record.reached_at = read.integer(value, "reached_at", -1);
  record.random_success = read.truth(value, "random_success");
  record.distances = read.numbers_of<double>(value, "distances");
  record.states = read.rows_of<double>(value, "states");
  record.actions = read.rows_of<float>(value, "actions");
  const auto steps = static_cast<u64>(record.steps);
  check(record.actions.size() == steps && record.states.size() == steps + 1 &&
            record.distances.size() == steps + 1,
        name, ": an episode of ", record.steps, " steps has ", record.actions.size(), " actions, ",
        record.states.size(), " states and ", record.distances.size(),
        " distances; as many actions and one more of the others were needed");
  for (const json& given : read.list(value, "plans")) {
    PlanRecord plan;
    plan.step = read.integer(given, "step", 0);
    plan.plan_ms = read.number_of(given, "ms");
    plan.cost = read.number_of(given, "cost");
    const json& trace = read.member(given, "trace");
    for (const TraceColumn& column : kTraceColumns) {
      if (trace.contains(column.name)) {
        plan.trace.*column.values = read.numbers_of<double>(trace, column.name);
      }
    }
    plan.surprise = read.numbers_of<float>(given, "surprise");
    plan.goal_distance = read.numbers_of<float>(given, "goal_distance");
    record.plans.push_back(std::move(plan));
  }
  return record;
}

}  // namespace orrery
