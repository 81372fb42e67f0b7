#include "eval/report_charts.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "base/text.h"
#include "eval/report_plot.h"

namespace orrery::report {

namespace {

// values at one position along x over all plans
using Spread = std::vector<double>;

void each_plan(std::span<const Evaluation> evaluations,
               const std::function<void(const PlanRecord&)>& visit) {
  for (const Evaluation& evaluation : evaluations) {
    for (const EpisodeRecord& episode : evaluation.episodes) {
      for (const PlanRecord& plan : episode.plans) visit(plan);
    }
  }
}

// one sorted spread for each position of the plans' lists
template <typename List>
std::vector<Spread> spreads(std::span<const Evaluation> evaluations, List list_of) {
  std::vector<Spread> result;
  each_plan(evaluations, [&](const PlanRecord& plan) {
    const auto& values = std::invoke(list_of, plan);
    if (values.size() > result.size()) result.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (std::isfinite(values[i])) result[i].push_back(static_cast<double>(values[i]));
    }
  });
  for (Spread& spread : result) std::sort(spread.begin(), spread.end());
  return result;
}

// At x = 1, 2, ...: median, and the band from the 10th to the 90th percentile.
std::vector<BandPoint> band_of(const std::vector<Spread>& sorted) {
  std::vector<BandPoint> points;
  for (const Spread& spread : sorted) {
    points.push_back({static_cast<double>(points.size() + 1), quantile(spread, 0.1),
                      quantile(spread, 0.5), quantile(spread, 0.9)});
  }
  return points;
}

double highest(const std::vector<Spread>& sorted, double q) {
  double top = 0;
  for (const Spread& spread : sorted) top = std::max(top, quantile(spread, q));
  return top > 0 ? top : 1;
}

}  // namespace

std::string cost_chart(std::span<const Evaluation> evaluations) {
  const auto best =
      spreads(evaluations, [](const PlanRecord& plan) { return plan.trace.best_cost; });
  const auto elite = spreads(evaluations, [](const PlanRecord& plan) {
    return plan.trace.elite_mean.empty() ? plan.trace.mean_cost : plan.trace.elite_mean;
  });
  if (best.empty() || elite.empty()) return {};
  Plot plot({1, std::max(2.0, static_cast<double>(elite.size()))}, {0, 1.05 * highest(elite, 0.9)},
            "iteration of the planner", "cost (squared latent distance)");
  plot.band(band_of(elite), "first");
  plot.band(band_of(best), "second");
  plot.legend(0, "first", "mean of the elites");
  plot.legend(1, "second", "best candidate");
  return plot.finish();
}

std::string latency_chart(std::span<const Evaluation> evaluations) {
  std::vector<double> times;
  each_plan(evaluations, [&](const PlanRecord& plan) { times.push_back(plan.plan_ms); });
  if (times.empty()) return {};
  std::sort(times.begin(), times.end());
  constexpr std::size_t kBins = 24;
  const double low = times.front(), high = std::max(times.back(), times.front() * 1.01 + 1e-6);
  std::vector<double> counts(kBins, 0.0);
  for (const double t : times) {
    counts[std::min(kBins - 1, static_cast<std::size_t>((t - low) / (high - low) * kBins))] += 1;
  }
  Plot plot({low, high}, {0, 1.3 * *std::max_element(counts.begin(), counts.end())},
            "time of one plan, ms", "plans");
  for (std::size_t i = 0; i < kBins; ++i) {
    const double width = (high - low) / kBins;
    plot.bar(low + width * static_cast<double>(i), low + width * static_cast<double>(i + 1),
             counts[i]);
  }
  plot.mark(quantile(times, 0.5), 0, text("median ", Plot::number(quantile(times, 0.5)), " ms"));
  plot.mark(quantile(times, 0.99), 1, text("p99 ", Plot::number(quantile(times, 0.99)), " ms"));
  return plot.finish();
}

std::string surprise_chart(std::span<const Evaluation> evaluations) {
  const auto surprise = spreads(evaluations, &PlanRecord::surprise);
  const auto distance = spreads(evaluations, &PlanRecord::goal_distance);
  if (surprise.empty()) return {};
  Plot plot({1, std::max(2.0, static_cast<double>(surprise.size()))},
            {0, 1.05 * std::max(highest(surprise, 0.9), highest(distance, 0.9))},
            "blocks since the plan", "squared latent distance");
  plot.band(band_of(distance), "second");
  plot.band(band_of(surprise), "first");
  plot.legend(0, "first", "imagined to seen");
  plot.legend(1, "second", "imagined to goal");
  return plot.finish();
}

}  // namespace orrery::report
