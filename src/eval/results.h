#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "eval/evaluation.h"

namespace orrery {

// Everything that decides how a protocol plays, but for the seed.
nlohmann::json json_from_protocol(const Protocol& protocol);

// what is told beside the totals
struct Detail {
  bool table = false;   // of every episode
  bool traces = false;  // of every plan in the table
};

// What an evaluation found, as it is printed and kept:
//
//   {"env", "protocol": {"name", "seed", ..}, "model", "data", "parameters", "episodes",
//    "successes", "success_rate", "ci95": [low, high], "random_success_rate", "already_solved",
//    "success_by_distance": see start_distance.h, "plan_ms": {"p50", "p99"}, "seconds"}
//
// Rates in percent. With the table also "table", one object per episode: {"episode" (its number),
// "row", "recorded_episode", "start_step", "success", "steps", "reached_at" (null for never),
// "already_solved", "random_success", "distance": [first, last], "plans": [{"step", "cost",
// "ms"}]}, and with traces each plan's "trace" (records.h).
nlohmann::json json_from_evaluation(const Evaluation& evaluation, Detail detail = {});

// The same of several seeds together: totals of all episodes under the names above, "seeds",
// "over_seeds": {"mean", "std", "lowest", "highest"} of their success rates, and "runs", one
// evaluation each. One seed: its evaluation.
nlohmann::json json_from_evaluations(std::span<const Evaluation> evaluations, Detail detail = {});

// For people: one line an evaluation, and one of all seeds together when there are several.
std::string lines_of(std::span<const Evaluation> evaluations);
// One line per episode, columns under names.
std::string table_of(std::span<const Evaluation> evaluations);

}  // namespace orrery
