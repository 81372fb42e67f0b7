#include "eval/report_charts.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <sstream>
#include <vector>

#include "base/text.h"

namespace orrery::report {

namespace {

// the drawing's own units; the page scales it
constexpr double kWidth = 460, kHeight = 250;
constexpr double kLeft = 56, kRight = 14, kTop = 14, kBottom = 44;

// values at one position along x over all plans
using Spread = std::vector<double>;

struct Range {
  double low = 0, high = 1;
};

// a round step that divides the range into about five
double tick_step(const Range& range) {
  const double rough = std::max(range.high - range.low, 1e-12) / 5;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

// Axes with ticks and labels, and the mapping from values to the drawing.
class Plot {
 public:
  Plot(Range x, Range y, const std::string& x_label, const std::string& y_label) : x_(x), y_(y) {
    svg_ << "<svg viewBox=\"0 0 " << kWidth << " " << kHeight << "\" role=\"img\" aria-label=\""
         << y_label << " by " << x_label << "\">";
    const double y_step = tick_step(y_), x_step = std::max(tick_step(x_), whole_x_ ? 1.0 : 0.0);
    for (double v = std::ceil(y_.low / y_step) * y_step; v <= y_.high + 1e-9 * y_step;
         v += y_step) {
      svg_ << "<line class=grid x1=" << kLeft << " x2=" << kWidth - kRight << " y1=" << at_y(v)
           << " y2=" << at_y(v) << " /><text class=tick text-anchor=end x=" << kLeft - 6
           << " y=" << at_y(v) + 4 << ">" << number(v) << "</text>";
    }
    for (double v = std::ceil(x_.low / x_step) * x_step; v <= x_.high + 1e-9 * x_step;
         v += x_step) {
      svg_ << "<text class=tick text-anchor=middle x=" << at_x(v) << " y=" << kHeight - kBottom + 16
           << ">" << number(v) << "</text>";
    }
    svg_ << "<text class=label text-anchor=middle x=" << (kLeft + kWidth - kRight) / 2
         << " y=" << kHeight - 8 << ">" << x_label
         << "</text><text class=label text-anchor=middle transform=\"translate(13 "
         << (kTop + kHeight - kBottom) / 2 << ") rotate(-90)\">" << y_label << "</text>";
  }

  double at_x(double v) const {
    return kLeft + (v - x_.low) / std::max(x_.high - x_.low, 1e-12) * (kWidth - kLeft - kRight);
  }
  double at_y(double v) const {
    return kHeight - kBottom -
           (v - y_.low) / std::max(y_.high - y_.low, 1e-12) * (kHeight - kTop - kBottom);
  }

  // the spread at x = first, first + 1, ...: band from the 10th to the 90th percentile and the
  // median
  void band(const std::vector<Spread>& sorted, double first, const char* kind) {
    svg_ << "<path class=\"band " << kind << "\" d=\"";
    for (std::size_t i = 0; i < sorted.size(); ++i)
      point(i == 0 ? "M" : "L", first, i, quantile(sorted[i], 0.9));
    for (std::size_t i = sorted.size(); i-- > 0;) point("L", first, i, quantile(sorted[i], 0.1));
    svg_ << "Z\"/><path class=\"line " << kind << "\" d=\"";
    for (std::size_t i = 0; i < sorted.size(); ++i)
      point(i == 0 ? "M" : "L", first, i, quantile(sorted[i], 0.5));
    svg_ << "\"/>";
  }

  void bar(double from, double to, double height) {
    svg_ << "<rect class=bar x=" << at_x(from) + 0.5
         << " width=" << std::max(0.5, at_x(to) - at_x(from) - 1) << " y=" << at_y(height)
         << " height=" << at_y(y_.low) - at_y(height) << " />";
  }

  // a line across with its name in the given row, on the side where there is room
  void mark(double x, double row, const std::string& name) {
    const bool left = at_x(x) > (kLeft + kWidth - kRight) / 2;
    svg_ << "<line class=mark x1=" << at_x(x) << " x2=" << at_x(x) << " y1=" << kTop
         << " y2=" << kHeight - kBottom
         << " /><text class=tick text-anchor=" << (left ? "end" : "start")
         << " x=" << at_x(x) + (left ? -4 : 4) << " y=" << kTop + 10 + 14 * row << ">" << name
         << "</text>";
  }

  void legend(double row, const char* kind, const std::string& name) {
    const double y = kTop + 8 + 16 * row;
    svg_ << "<line class=\"line " << kind << "\" x1=" << kWidth - 150 << " x2=" << kWidth - 128
         << " y1=" << y << " y2=" << y << " /><text class=tick x=" << kWidth - 122 << " y=" << y + 4
         << ">" << name << "</text>";
  }

  std::string finish() {
    svg_ << "</svg>";
    return svg_.str();
  }

  static std::string number(double v) {
    std::ostringstream out;
    out.precision(4);
    out << (std::abs(v) < 1e-12 ? 0.0 : v);
    return out.str();
  }

 private:
  void point(const char* command, double first, std::size_t i, double v) {
    svg_ << command << at_x(first + static_cast<double>(i)) << " " << at_y(v);
  }

  static constexpr bool whole_x_ =
      true;  // iterations and blocks are whole numbers; times are far above one
  Range x_, y_;
  std::ostringstream svg_;
};

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
  plot.band(elite, 1, "first");
  plot.band(best, 1, "second");
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
  plot.band(distance, 1, "second");
  plot.band(surprise, 1, "first");
  plot.legend(0, "first", "imagined to seen");
  plot.legend(1, "second", "imagined to goal");
  return plot.finish();
}

}  // namespace orrery::report
