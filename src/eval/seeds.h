#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "eval/evaluation.h"

namespace orrery {

// "7", "0..9" (both ends are meant) and lists of both with commas, "0..4,42", as seeds in their
// order. Error: something else, a range that runs backwards, a seed named twice, more than 10,000.
std::vector<u64> seeds_from_text(std::string_view text);

// What runs of several seeds say together.
struct SeedSummary {
  i64 episodes = 0, successes = 0, random_successes = 0, already_solved = 0;
  std::array<double, 2> ci95 = {};  // Wilson interval of all episodes together, percent
  double success_rate = 0;          // of all episodes together, percent
  double random_success_rate = 0;
  // of the seeds' success rates, percent
  double mean = 0;
  double std = 0;  // sample standard deviation, 0 for one seed
  double lowest = 0;
  double highest = 0;
};

SeedSummary summary_of_seeds(std::span<const Evaluation> evaluations);

}  // namespace orrery
