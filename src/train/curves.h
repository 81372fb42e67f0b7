#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/types.h"

namespace orrery::train {

// What was measured over a run, read from its metrics.jsonl.
struct CurvePoint {
  double step = 0;
  double seconds = 0;  // since the run began, as the newest line before it says
  double value = 0;
};

struct RunCurves {
  std::string name;  // in legends
  // by measure; what was held out is "validation.<measure>"
  std::map<std::string, std::vector<CurvePoint>> measures;
  double steps = 0;  // of the last line
};

// From the file, or from the metrics.jsonl of a run's folder, of at most 1 GiB. Any objects with a
// number `step`, one a line, will do; numbers in objects within are named "<key>.<key>". A value
// that is null is left out, and so is a last line that is still being written.
//
// Errors: a file that cannot be read or has no such line.
RunCurves read_curves(const std::filesystem::path& path, std::string name = {});

struct CurvePage {
  bool by_seconds = false;  // the axis: seconds instead of steps
  int refresh_s = 0;        // a browser loads the page anew so often; 0: never
};

// One self-contained page (no other files, no network): a chart for each measure, training and
// held out together, every run a colour, and a table of the newest values. Success comes first,
// then the loss and its terms. A curve of more than 400 points is drawn as means of equal parts
// with the band from the least to the greatest value. The file appears whole or not at all.
void write_curve_page(const std::filesystem::path& path, const std::vector<RunCurves>& runs,
                      const CurvePage& options = {});

}  // namespace orrery::train
