#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace orrery::train {

// A chart of lines as inline SVG, in the colours of the page's style: class "c0" to "c7" by colour,
// "dashed" for what was held out, whose few points are rings. The newest value of each line stands
// beside its end.
struct ChartLine {
  std::vector<double> x, y;
  std::vector<double> low, high;  // of a band around the line; empty: none
  int colour = 0;
  bool dashed = false;
};

struct Chart {
  std::string title;    // for readers that do not see
  std::string x_label;  // below the axis
  std::vector<ChartLine> lines;
  bool linear = false;                             // whatever the values are
  std::optional<std::pair<double, double>> range;  // of y at least
};

// A logarithmic scale is chosen where all values are above 0 and the greatest is more than 50 times
// the least, unless `linear` or `range` forbid it; `logarithmic`, when given, is told. Empty when
// there is no point.
std::string svg_of(const Chart& chart, bool* logarithmic = nullptr);

// so many digits, as a person would write them
std::string short_number(double value, int digits = 4);

}  // namespace orrery::train
