#include "eval/start_distance.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace orrery {

namespace {

constexpr std::size_t kBins = 5;
constexpr std::size_t kFewest = 4;  // episodes of a bin: fewer say nothing

}  // namespace

std::vector<StartDistanceBin> success_by_start_distance(std::span<const Evaluation> evaluations) {
  std::vector<std::pair<double, bool>> starts;
  for (const Evaluation& evaluation : evaluations) {
    for (const EpisodeRecord& episode : evaluation.episodes) {
      if (!episode.distances.empty()) {
        starts.emplace_back(episode.distances.front(), episode.success);
      }
    }
  }
  std::sort(starts.begin(), starts.end());
  const std::size_t bins = std::clamp<std::size_t>(starts.size() / kFewest, 1, kBins);
  std::vector<StartDistanceBin> result;
  std::size_t begin = 0;
  for (std::size_t b = 1; b <= bins; ++b) {
    // as many as all bins up to this one should hold, and those that are as far as the last
    std::size_t end = std::max(begin, b * starts.size() / bins);
    while (end > begin && end < starts.size() && starts[end].first == starts[end - 1].first) ++end;
    if (end == begin) continue;
    StartDistanceBin bin{.from = starts[begin].first, .to = starts[end - 1].first};
    for (; begin < end; ++begin) {
      ++bin.episodes;
      bin.successes += starts[begin].second ? 1 : 0;
    }
    const auto interval = wilson_interval(bin.successes, bin.episodes);
    bin.ci95 = {100 * interval[0], 100 * interval[1]};
    result.push_back(bin);
  }
  return result;
}

nlohmann::json json_from_start_distances(std::span<const Evaluation> evaluations) {
  nlohmann::json result = nlohmann::json::array();
  for (const StartDistanceBin& bin : success_by_start_distance(evaluations)) {
    result.push_back({{"from", bin.from},
                      {"to", bin.to},
                      {"episodes", bin.episodes},
                      {"successes", bin.successes},
                      {"success_rate", bin.success_rate()},
                      {"ci95", bin.ci95}});
  }
  return result;
}

}  // namespace orrery
