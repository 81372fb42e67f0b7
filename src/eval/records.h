#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "eval/evaluation.h"

namespace orrery {

// A record as JSON and back, every number exactly as it was, without pictures (film, goal,
// nearest): for records that travel between processes or are kept for later.
//
//   {"index": 0, "row": 812, "episode": 9, "step": 2, "success": true, "already_solved": false,
//    "steps": 31, "reached_at": 31, "random_success": false, "distances": [..],
//    "states": [[..], ..], "actions": [[..], ..],
//    "plans": [{"step": 0, "ms": 71.5, "cost": 3.25, "trace": {"best_cost": [..], ..},
//               "surprise": [..], "goal_distance": [..]}, ..]}
//
// Numbers that JSON lacks are the strings "nan", "inf" and "-inf".
nlohmann::json json_from_record(const EpisodeRecord& record);

// the columns that a trace has, by their names in plan/trace.h
nlohmann::json json_from_trace(const PlanTrace& trace);

// `name` says in errors where the value came from. Error when something is missing or of another
// type, or the lengths of states, actions and distances do not fit the steps.
EpisodeRecord record_from_json(const nlohmann::json& value, const std::string& name);

}  // namespace orrery
