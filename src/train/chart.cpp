#include "train/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <sstream>

#include "base/markup.h"
#include "base/text.h"

namespace orrery::train {

namespace {

// the drawing's own units; the page scales it
constexpr double kWidth = 460, kHeight = 240;
constexpr double kLeft = 58, kRight = 58, kTop = 10, kBottom = 40;
constexpr int kColours = 8;

// A range of values and where they lie in the drawing.
class Axis {
 public:
  Axis(double low, double high, bool logarithmic, double from, double to)
      : logarithmic_(logarithmic), from_(from), to_(to) {
    low_ = scaled(low);
    high_ = scaled(high);
    if (!(high_ > low_)) {
      // one value: in the middle
      const double room = std::max(1e-9, 0.1 * std::abs(low_));
      low_ -= room;
      high_ += room;
    }
  }

  double at(double value) const {
    return from_ + (scaled(value) - low_) / (high_ - low_) * (to_ - from_);
  }

  // values worth a mark
  std::vector<double> ticks() const {
    std::vector<double> values;
    if (logarithmic_) {
      const bool few = high_ - low_ < 2;  // less than two powers of ten
      for (double power = std::floor(low_); power <= high_; ++power) {
        for (const double factor : {1.0, 2.0, 5.0}) {
          if (factor != 1.0 && !few) continue;
          const double place = power + std::log10(factor);
          if (place >= low_ && place <= high_) values.push_back(std::pow(10.0, place));
        }
      }
      return values;
    }
    // a round step that divides the range into about five
    const double rough = (high_ - low_) / 5;
    const double power = std::pow(10.0, std::floor(std::log10(rough)));
    double step = 10 * power;
    for (const double factor : {5.0, 2.0, 1.0}) {
      if (factor * power >= rough) step = factor * power;
    }
    for (double index = std::ceil(low_ / step); index * step <= high_ + 1e-9 * step; ++index) {
      values.push_back(index * step);
    }
    return values;
  }

 private:
  double scaled(double value) const { return logarithmic_ ? std::log10(value) : value; }

  bool logarithmic_;
  double from_, to_;
  double low_ = 0, high_ = 1;
};

std::string place(double value) {
  char characters[32];
  std::snprintf(characters, sizeof characters, "%.2f", value);
  return characters;
}

void add_points(std::ostringstream& out, const std::vector<double>& x, const std::vector<double>& y,
                const Axis& across, const Axis& up, bool backwards, const char* first) {
  for (std::size_t k = 0; k < x.size(); ++k) {
    const std::size_t i = backwards ? x.size() - 1 - k : k;
    out << (k == 0 ? first : "L") << place(across.at(x[i])) << " " << place(up.at(y[i]));
  }
}

// The newest value of each line beside its end. Labels that would overlap move apart, downwards
// and at the bottom upwards; more lines than colours go without.
void add_ends(std::ostringstream& out, const Chart& chart, const Axis& across, const Axis& up) {
  constexpr double kApart = 11, kAside = 44;  // a line of text, and its width
  struct End {
    double x, y;
    const ChartLine* line;
  };
  std::vector<End> ends;
  for (const ChartLine& line : chart.lines) {
    if (!line.x.empty()) ends.push_back({across.at(line.x.back()), up.at(line.y.back()), &line});
  }
  if (ends.size() > kColours) return;
  std::sort(ends.begin(), ends.end(), [](const End& a, const End& b) { return a.y < b.y; });
  const auto near = [&](const End& a, const End& b) {
    return std::abs(a.x - b.x) < kAside && std::abs(a.y - b.y) < kApart;
  };
  for (std::size_t i = 1; i < ends.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) {
      if (near(ends[i], ends[k])) ends[i].y = ends[k].y + kApart;
    }
  }
  for (std::size_t i = ends.size(); i-- > 0;) {
    ends[i].y = std::min(ends[i].y, kHeight - kBottom);
    for (std::size_t k = i + 1; k < ends.size(); ++k) {
      if (near(ends[i], ends[k])) ends[i].y = ends[k].y - kApart;
    }
  }
  for (const End& end : ends) {
    out << "<text class=\"end c" << end.line->colour % kColours << "\" x=\"" << place(end.x + 5)
        << "\" y=\"" << place(end.y + 4) << "\">" << short_number(end.line->y.back(), 3)
        << "</text>";
  }
}

}  // namespace

std::string svg_of(const Chart& chart, bool* logarithmic) {
  constexpr double kMost = std::numeric_limits<double>::max();
  double x_low = kMost, x_high = -kMost, y_low = kMost, y_high = -kMost;
  for (const ChartLine& line : chart.lines) {
    for (const double x : line.x) x_low = std::min(x_low, x), x_high = std::max(x_high, x);
    for (const auto* values : {&line.y, &line.low, &line.high}) {
      for (const double y : *values) y_low = std::min(y_low, y), y_high = std::max(y_high, y);
    }
  }
  if (!(x_low <= x_high)) return {};
  if (chart.range) {
    y_low = std::min(y_low, chart.range->first);
    y_high = std::max(y_high, chart.range->second);
  }
  const bool by_powers = !chart.linear && !chart.range && y_low > 0 && y_high > 50 * y_low;
  if (logarithmic != nullptr) *logarithmic = by_powers;
  const Axis across(std::min(0.0, x_low), x_high, false, kLeft, kWidth - kRight);
  const Axis up(y_low, y_high, by_powers, kHeight - kBottom, kTop);

  std::ostringstream out;
  out << "<svg viewBox=\"0 0 " << kWidth << " " << kHeight << "\" role=\"img\" aria-label=\""
      << escaped(chart.title) << "\">";
  for (const double value : up.ticks()) {
    const std::string y = place(up.at(value));
    out << "<line class=\"grid\" x1=\"" << kLeft << "\" x2=\"" << kWidth - kRight << "\" y1=\"" << y
        << "\" y2=\"" << y << "\"/><text text-anchor=\"end\" x=\"" << kLeft - 6 << "\" y=\""
        << place(up.at(value) + 4) << "\">" << short_number(value) << "</text>";
  }
  out << "<line class=\"axis\" x1=\"" << kLeft << "\" x2=\"" << kWidth - kRight << "\" y1=\""
      << kHeight - kBottom << "\" y2=\"" << kHeight - kBottom << "\"/>";
  for (const double value : across.ticks()) {
    out << "<text text-anchor=\"middle\" x=\"" << place(across.at(value)) << "\" y=\""
        << kHeight - kBottom + 16 << "\">" << short_number(value) << "</text>";
  }
  out << "<text text-anchor=\"middle\" x=\"" << (kLeft + kWidth - kRight) / 2 << "\" y=\""
      << kHeight - 6 << "\">" << escaped(chart.x_label) << "</text>";
  for (const ChartLine& line : chart.lines) {
    const std::string colour = text("c", line.colour % kColours);
    if (!line.low.empty()) {
      out << "<path class=\"band " << colour << "\" d=\"";
      add_points(out, line.x, line.high, across, up, false, "M");
      add_points(out, line.x, line.low, across, up, true, "L");
      out << "Z\"/>";
    }
    const char* dashed = line.dashed ? " dashed" : "";
    if (line.x.size() > 1) {
      out << "<path class=\"line " << colour << dashed << "\" d=\"";
      add_points(out, line.x, line.y, across, up, false, "M");
      out << "\"/>";
    }
    // few points are measurements of their own
    if (line.x.size() <= 40) {
      for (std::size_t i = 0; i < line.x.size(); ++i) {
        out << "<circle class=\"" << (line.dashed ? "line " : "dot ") << colour << "\" cx=\""
            << place(across.at(line.x[i])) << "\" cy=\"" << place(up.at(line.y[i]))
            << "\" r=\"2.5\"><title>" << short_number(line.x[i]) << ": " << short_number(line.y[i])
            << "</title></circle>";
      }
    }
  }
  add_ends(out, chart, across, up);
  out << "</svg>";
  return out.str();
}

std::string short_number(double value, int digits) {
  char characters[32];
  const double size = std::abs(value);
  if (size >= 1e6 && size < 1e9) {
    std::snprintf(characters, sizeof characters, "%.*gM", digits, value / 1e6);
  } else if (size >= 1e4 && size < 1e6) {
    std::snprintf(characters, sizeof characters, "%.*gk", digits, value / 1e3);
  } else {
    std::snprintf(characters, sizeof characters, "%.*g", digits, size < 1e-300 ? 0.0 : value);
  }
  return characters;
}

}  // namespace orrery::train
