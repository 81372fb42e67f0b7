// charts of distances: latent against state, success against the way to go

#include <algorithm>
#include <cmath>
#include <map>

#include "base/text.h"
#include "eval/report_charts.h"
#include "eval/report_plot.h"
#include "eval/start_distance.h"

namespace orrery::report {

namespace {

using Bin = DistanceCurve::Bin;

// the bins of some lines in their order, each with its place along x
class Places {
 public:
  explicit Places(std::initializer_list<const DistanceCurve::Line*> lines) {
    for (const DistanceCurve::Line* line : lines) {
      for (const Bin& bin : line->bins) names_.emplace(bin.from, name_of(bin));
    }
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [from, name] : names_) names.push_back(name);
    return names;
  }
  double of(const Bin& bin) const {
    return static_cast<double>(std::distance(names_.begin(), names_.find(bin.from)));
  }

 private:
  static std::string name_of(const Bin& bin) {
    if (!std::isfinite(bin.to)) return Plot::number(bin.from) + "+";
    return text(Plot::number(bin.from), "&#8211;", Plot::number(bin.to));
  }

  std::map<double, std::string> names_;  // by where a bin begins
};

std::string label_of(const DistanceCurve::Measure& measure) {
  return text("distance of ", measure.name,
              measure.unit.empty() ? std::string() : text(", ", measure.unit));
}

}  // namespace

std::string distance_chart(const DistanceCurve& curve) {
  const DistanceCurve::Measure* measure = curve.main();
  if (measure == nullptr || measure->within.bins.empty()) return {};
  const Places places({&measure->within, &measure->across});
  std::vector<BandPoint> within, across;
  double top = 0;
  for (const auto& [line, points] :
       {std::pair(&measure->within, &within), std::pair(&measure->across, &across)}) {
    for (const Bin& bin : line->bins) {
      points->push_back({places.of(bin), bin.low, bin.mean, bin.high});
      top = std::max({top, bin.mean, bin.high});
    }
  }
  Plot plot(places.names(), {0, top > 0 ? 1.15 * top : 1}, label_of(*measure),
            "squared latent distance");
  plot.band(across, "second");
  plot.band(within, "first");
  plot.legend(0, "first", "within an episode");
  if (!across.empty()) plot.legend(1, "second", "across episodes");
  return plot.finish();
}

std::string slope_chart(const DistanceCurve& curve) {
  const DistanceCurve::Measure* measure = curve.main();
  if (measure == nullptr) return {};
  DistanceCurve::Line line;
  for (const Bin& bin : measure->within.bins) {
    if (bin.steps > 0) line.bins.push_back(bin);
  }
  if (line.bins.empty()) return {};
  const Places places({&line});
  std::vector<BandPoint> cost, distance;
  for (const Bin& bin : line.bins) {
    cost.push_back({.x = places.of(bin), .middle = 100 * bin.cost_falls});
    distance.push_back({.x = places.of(bin), .middle = 100 * bin.distance_falls});
  }
  Plot plot(places.names(), {0, 115}, label_of(*measure), "one block lowers it, %");
  plot.line(distance, "second");
  plot.line(cost, "first");
  plot.legend(0, "first", "the cost");
  plot.legend(1, "second", "the distance");
  return plot.finish();
}

std::string start_distance_chart(std::span<const Evaluation> evaluations) {
  const std::vector<StartDistanceBin> bins = success_by_start_distance(evaluations);
  if (bins.size() < 2) return {};
  std::vector<std::string> names;
  std::vector<BandPoint> points;
  for (const StartDistanceBin& bin : bins) {
    points.push_back(
        {static_cast<double>(points.size()), bin.ci95[0], bin.success_rate(), bin.ci95[1]});
    names.push_back(text(std::round(bin.from), "&#8211;", std::round(bin.to)));
  }
  Plot plot(names, {0, 105}, "distance to the goal at the start, the environment's measure",
            "goals reached, %");
  plot.band(points, "first");
  return plot.finish();
}

}  // namespace orrery::report
