#pragma once

#include <CLI/CLI.hpp>

#include <string>

#include "descent_flags.h"
#include "models/lewm/objective.h"
#include "orrery/orrery.h"
#include "plan/choice.h"

namespace orrery::cli {

// The options that say how actions are searched for, the same for every verb that plans.
class PlannerOptions {
 public:
  void add_to(CLI::App& verb);

  // after the command line was read
  PlannerChoice choice() const;
  lewm::Objective objective() const;
  void apply_to(PlanOptions& options) const;

 private:
  PlannerChoice choice_;
  DescentFlags descent_;
  std::string upstream_;
  std::string goal_reduction_ = "sum";
  double control_penalty_ = 0;
  double action_limit_ = 0;
  bool population_std_ = false;
  bool return_best_ = false;
  bool limit_is_z_scored_ = false;
};

}  // namespace orrery::cli
