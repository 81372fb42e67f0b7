#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <vector>

#include "eval/evaluation.h"

namespace orrery {

// Success by how far the goal was at the start, in the environment's own measure.
struct StartDistanceBin {
  double from = 0, to = 0;  // nearest and farthest start
  i64 episodes = 0, successes = 0;
  std::array<double, 2> ci95 = {};  // Wilson's, percent

  double success_rate() const {
    return 100 * static_cast<double>(successes) / static_cast<double>(episodes);
  }
};

// The episodes of all evaluations by rising distance, cut into five bins (fewer when there are
// fewer than four episodes a bin) of as many episodes as can be; starts of equal distance stay
// together. exact
std::vector<StartDistanceBin> success_by_start_distance(std::span<const Evaluation> evaluations);

// [{"from", "to", "episodes", "successes", "success_rate", "ci95"}]
nlohmann::json json_from_start_distances(std::span<const Evaluation> evaluations);

}  // namespace orrery
