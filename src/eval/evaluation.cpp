#include "eval/evaluation.h"

#include <algorithm>
#include <cmath>

namespace orrery {

namespace {

template <typename Holds>
i64 count_of(const std::vector<EpisodeRecord>& episodes, Holds holds) {
  return static_cast<i64>(std::count_if(episodes.begin(), episodes.end(), holds));
}

double percent(i64 part, std::size_t whole) {
  return whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

i64 Evaluation::successes() const {
  return count_of(episodes, [](const EpisodeRecord& e) { return e.success; });
}
i64 Evaluation::random_successes() const {
  return count_of(episodes, [](const EpisodeRecord& e) { return e.random_success; });
}
i64 Evaluation::already_solved() const {
  return count_of(episodes, [](const EpisodeRecord& e) { return e.already_solved; });
}
double Evaluation::success_rate() const { return percent(successes(), episodes.size()); }
double Evaluation::random_success_rate() const {
  return percent(random_successes(), episodes.size());
}

std::array<double, 2> Evaluation::ci95() const {
  const auto interval = wilson_interval(successes(), static_cast<i64>(episodes.size()));
  return {100.0 * interval[0], 100.0 * interval[1]};
}

std::vector<double> Evaluation::plan_times_ms() const {
  std::vector<double> times;
  for (const EpisodeRecord& episode : episodes) {
    for (const PlanRecord& plan : episode.plans) times.push_back(plan.plan_ms);
  }
  std::sort(times.begin(), times.end());
  return times;
}

double quantile(const std::vector<double>& sorted, double q) {
  if (sorted.empty()) return 0.0;
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

std::array<double, 2> wilson_interval(i64 successes, i64 count) {
  if (count == 0) return {0.0, 1.0};
  constexpr double z = 1.959963984540054;  // 97.5 % quantile of the standard normal
  const double n = static_cast<double>(count);
  const double p = static_cast<double>(successes) / n;
  const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z / (1 + z * z / n) * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

}  // namespace orrery
