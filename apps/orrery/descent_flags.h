#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "orrery/orrery.h"
#include "plan/descent_choice.h"

namespace orrery::cli {

// The options of planners that descend, part of PlannerOptions.
class DescentFlags {
 public:
  void add_to(CLI::App& verb);

  // after the command line was read
  DescentChoice choice() const;
  std::optional<DescentAnswer> answer() const;  // if it was said
  DescentOptions options() const;

 private:
  DescentChoice choice_;
  std::string optimizer_, answer_;
};

}  // namespace orrery::cli
