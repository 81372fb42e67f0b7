#pragma once

#include <nlohmann/json_fwd.hpp>

#include "eval/decisions.h"

namespace orrery::cli {

// How decisions agree, for `plan --check-with` and `parity --decisions`.
nlohmann::json json_of(const DecisionReport& report);
void print(const DecisionReport& report);

}  // namespace orrery::cli
