#include "eval/seeds.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace orrery {

namespace {

constexpr std::size_t kMostSeeds = 10000;

u64 seed_from_text(std::string_view text, std::string_view whole) {
  u64 seed = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), seed);
  check(problem == std::errc() && end == text.data() + text.size(), "seeds are \"", whole,
        "\", needed numbers from 0 up and ranges of them, as in 0..4,42");
  return seed;
}

}  // namespace

std::vector<u64> seeds_from_text(std::string_view text) {
  std::vector<u64> seeds;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view part = text.substr(begin, end - begin);
    const std::size_t dots = part.find("..");
    const u64 first = seed_from_text(part.substr(0, dots), text);
    const u64 last =
        dots == std::string_view::npos ? first : seed_from_text(part.substr(dots + 2), text);
    check(first <= last, "seeds are \"", text, "\", a range that begins with ", first,
          " cannot end with ", last);
    check(last - first < kMostSeeds && seeds.size() + (last - first) < kMostSeeds, "seeds are \"",
          text, "\", at most ", kMostSeeds, " are possible");
    for (u64 i = 0; i <= last - first; ++i) seeds.push_back(first + i);
    begin = end + 1;
  }
  std::vector<u64> sorted = seeds;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  check(twice == sorted.end(), "seeds are \"", text, "\", ", twice == sorted.end() ? 0 : *twice,
        " is named twice");
  return seeds;
}

SeedSummary summary_of_seeds(std::span<const Evaluation> evaluations) {
  SeedSummary summary;
  if (evaluations.empty()) return summary;
  summary.lowest = 100;
  double sum = 0;
  for (const Evaluation& evaluation : evaluations) {
    summary.episodes += static_cast<i64>(evaluation.episodes.size());
    summary.successes += evaluation.successes();
    summary.random_successes += evaluation.random_successes();
    summary.already_solved += evaluation.already_solved();
    const double rate = evaluation.success_rate();
    sum += rate;
    summary.lowest = std::min(summary.lowest, rate);
    summary.highest = std::max(summary.highest, rate);
  }
  const auto count = static_cast<double>(evaluations.size());
  summary.mean = sum / count;
  double squares = 0;
  for (const Evaluation& evaluation : evaluations) {
    squares += std::pow(evaluation.success_rate() - summary.mean, 2);
  }
  if (count > 1) summary.std = std::sqrt(squares / (count - 1));
  const auto interval = wilson_interval(summary.successes, summary.episodes);
  summary.ci95 = {100 * interval[0], 100 * interval[1]};
  if (summary.episodes > 0) {
    const auto episodes = static_cast<double>(summary.episodes);
    summary.success_rate = 100 * static_cast<double>(summary.successes) / episodes;
    summary.random_success_rate = 100 * static_cast<double>(summary.random_successes) / episodes;
  }
  return summary;
}

}  // namespace orrery
