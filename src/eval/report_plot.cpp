#include "eval/report_plot.h"

#include <algorithm>
#include <cmath>

namespace orrery::report {

namespace {

// the drawing's own units; the page scales it
constexpr double kWidth = 460, kHeight = 250;
constexpr double kLeft = 56, kRight = 14, kTop = 14, kBottom = 44;

// a round step that divides the range into about five
double tick_step(const Range& range) {
  const double rough = std::max(range.high - range.low, 1e-12) / 5;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

}  // namespace

Plot::Plot(Range x, Range y, const std::string& x_label, const std::string& y_label)
    : x_(x), y_(y) {
  frame(x_label, y_label);
  // iterations and blocks are whole numbers; times are far above one
  const double step = std::max(tick_step(x_), 1.0);
  for (double v = std::ceil(x_.low / step) * step; v <= x_.high + 1e-9 * step; v += step) {
    tick(v, number(v));
  }
}

Plot::Plot(const std::vector<std::string>& names, Range y, const std::string& x_label,
           const std::string& y_label)
    : x_{-0.5, static_cast<double>(names.size()) - 0.5}, y_(y) {
  frame(x_label, y_label);
  for (std::size_t i = 0; i < names.size(); ++i) tick(static_cast<double>(i), names[i]);
}

void Plot::frame(const std::string& x_label, const std::string& y_label) {
  svg_ << "<svg viewBox=\"0 0 " << kWidth << " " << kHeight << "\" role=\"img\" aria-label=\""
       << y_label << " by " << x_label << "\">";
  const double step = tick_step(y_);
  for (double v = std::ceil(y_.low / step) * step; v <= y_.high + 1e-9 * step; v += step) {
    svg_ << "<line class=grid x1=" << kLeft << " x2=" << kWidth - kRight << " y1=" << at_y(v)
         << " y2=" << at_y(v) << " /><text class=tick text-anchor=end x=" << kLeft - 6
         << " y=" << at_y(v) + 4 << ">" << number(v) << "</text>";
  }
  svg_ << "<text class=label text-anchor=middle x=" << (kLeft + kWidth - kRight) / 2
       << " y=" << kHeight - 8 << ">" << x_label
       << "</text><text class=label text-anchor=middle transform=\"translate(13 "
       << (kTop + kHeight - kBottom) / 2 << ") rotate(-90)\">" << y_label << "</text>";
}

double Plot::at_x(double v) const {
  return kLeft + (v - x_.low) / std::max(x_.high - x_.low, 1e-12) * (kWidth - kLeft - kRight);
}
double Plot::at_y(double v) const {
  return kHeight - kBottom -
         (v - y_.low) / std::max(y_.high - y_.low, 1e-12) * (kHeight - kTop - kBottom);
}

void Plot::tick(double x, const std::string& name) {
  svg_ << "<text class=tick text-anchor=middle x=" << at_x(x) << " y=" << kHeight - kBottom + 16
       << ">" << name << "</text>";
}

void Plot::point(const char* command, double x, double y) {
  svg_ << command << at_x(x) << " " << at_y(y);
}

void Plot::band(const std::vector<BandPoint>& points, const char* kind) {
  if (points.empty()) return;
  svg_ << "<path class=\"band " << kind << "\" d=\"";
  for (std::size_t i = 0; i < points.size(); ++i) {
    point(i == 0 ? "M" : "L", points[i].x, points[i].high);
  }
  for (std::size_t i = points.size(); i-- > 0;) point("L", points[i].x, points[i].low);
  svg_ << "Z\"/>";
  line(points, kind);
}

void Plot::line(const std::vector<BandPoint>& points, const char* kind) {
  if (points.empty()) return;
  svg_ << "<path class=\"line " << kind << "\" d=\"";
  for (std::size_t i = 0; i < points.size(); ++i) {
    point(i == 0 ? "M" : "L", points[i].x, points[i].middle);
  }
  svg_ << "\"/>";
}

void Plot::bar(double from, double to, double height) {
  svg_ << "<rect class=bar x=" << at_x(from) + 0.5
       << " width=" << std::max(0.5, at_x(to) - at_x(from) - 1) << " y=" << at_y(height)
       << " height=" << at_y(y_.low) - at_y(height) << " />";
}

void Plot::mark(double x, double row, const std::string& name) {
  const bool left = at_x(x) > (kLeft + kWidth - kRight) / 2;
  svg_ << "<line class=mark x1=" << at_x(x) << " x2=" << at_x(x) << " y1=" << kTop
       << " y2=" << kHeight - kBottom
       << " /><text class=tick text-anchor=" << (left ? "end" : "start")
       << " x=" << at_x(x) + (left ? -4 : 4) << " y=" << kTop + 10 + 14 * row << ">" << name
       << "</text>";
}

void Plot::legend(double row, const char* kind, const std::string& name) {
  const double y = kTop + 8 + 16 * row;
  svg_ << "<line class=\"line " << kind << "\" x1=" << kWidth - 150 << " x2=" << kWidth - 128
       << " y1=" << y << " y2=" << y << " /><text class=tick x=" << kWidth - 122 << " y=" << y + 4
       << ">" << name << "</text>";
}

std::string Plot::finish() {
  svg_ << "</svg>";
  return svg_.str();
}

std::string Plot::number(double v) {
  std::ostringstream out;
  out.precision(4);
  out << (std::abs(v) < 1e-12 ? 0.0 : v);
  return out.str();
}

}  // namespace orrery::report
