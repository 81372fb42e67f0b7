#pragma once

#include <sstream>
#include <string>
#include <vector>

namespace orrery::report {

struct Range {
  double low = 0, high = 1;
};

// A line with the band around it, at one position along x.
struct BandPoint {
  double x = 0;
  double low = 0, middle = 0, high = 0;
};

// A chart as inline SVG: axes with ticks and labels, and the mapping from values to the drawing.
// `kind` is a class of the page's style: first or second.
class Plot {
 public:
  Plot(Range x, Range y, const std::string& x_label, const std::string& y_label);
  // Positions 0, 1, ... along x have names instead of ticks.
  Plot(const std::vector<std::string>& names, Range y, const std::string& x_label,
       const std::string& y_label);

  void band(const std::vector<BandPoint>& points, const char* kind);
  void line(const std::vector<BandPoint>& points, const char* kind);  // the middle alone
  void bar(double from, double to, double height);
  // a line across with its name in the given row, on the side where there is room
  void mark(double x, double row, const std::string& name);
  void legend(double row, const char* kind, const std::string& name);
  std::string finish();

  // four digits
  static std::string number(double v);

 private:
  void frame(const std::string& x_label, const std::string& y_label);
  double at_x(double v) const;
  double at_y(double v) const;
  void tick(double x, const std::string& name);
  void point(const char* command, double x, double y);

  Range x_, y_;
  std::ostringstream svg_;
};

}  // namespace orrery::report
