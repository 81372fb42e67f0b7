#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "env/variation.h"

namespace orrery::cli {

// The options that say how an environment is reset, shared by the verbs that make one:
//   --set wall.axis=0 --set door.size=10,14,20   factors given outright
//   --variation all                               factors drawn, instead of the environment's
//   default list
//   --config FILE   {"variation": ["agent.color"], "variation_values": {"wall.axis": 0}}
// What the command line says comes after, and replaces, what the file says.
struct ResetArguments {
  std::vector<std::string> sets;
  std::vector<std::string> variation;
  std::string config;

  void add_to(CLI::App& verb);
  ResetOptions parse() const;
};

}  // namespace orrery::cli
