#pragma once

#include <string>
#include <vector>

#include "train/validation.h"

namespace orrery::train {

// A number by which weights are judged, under the name that metrics.jsonl, the page of curves and
// `best_by` use.
struct Measure {
  std::string name;
  double value = 0;
  bool more_is_better = false;
};

// Judges the weights of a run from outside, for example by letting them play.
class Examiner {
 public:
  virtual ~Examiner() = default;
  // names of what examine() gives, known before the first step
  virtual std::vector<std::string> names() const = 0;
  // asked after every step; `last`: the run ends with it
  virtual bool due(i64 step, bool last) const = 0;
  // A function of (step, weights) alone, or a resumed run would tell something else than one
  // without a break. An Error ends the run.
  virtual std::vector<Measure> examine(i64 step, const lewm::Weights& weights) = 0;
};

// What validation measures: every term of the loss, `total`, `latent_std`, `effective_rank`.
std::vector<Measure> measures_of(const ValidationReport& report);
std::vector<std::string> names_of_validation();

}  // namespace orrery::train
