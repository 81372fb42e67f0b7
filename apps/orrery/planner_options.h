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
  // `model`: the folder or file that was named
  lewm::Objective objective(const std::string& model, i64 latent) const;
  void apply_to(PlanOptions& options) const;

 private:
  PlannerChoice choice_;
  DescentFlags descent_;
  std::string upstream_;
  lewm::CostChoice cost_;
  double action_limit_ = 0;
  bool population_std_ = false;
  bool return_best_ = false;
  bool limit_is_z_scored_ = false;
};

}  // namespace orrery::cli
