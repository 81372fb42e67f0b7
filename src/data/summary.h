#pragma once

#include <string>
#include <vector>

#include "data/episodes.h"

namespace orrery {

// What a column holds, component by component, over the rows without NaN in it. Of pictures
// (uint8 [height, width, channels]) a component is a channel.
struct ColumnSummary {
  i64 rows = 0;  // that counted
  i64 rows_with_nan = 0;
  std::vector<double> minimum;
  std::vector<double> maximum;
  std::vector<double> mean;
  std::vector<double> deviation;  // population
};

bool is_picture(const Column& column);

// One pass in double, mean and deviation by Welford's recurrence; integer sums for pictures. A
// column without a whole row has no components. steady
ColumnSummary summary_of(const Episodes& episodes, i64 column);

struct LengthSummary {
  i64 shortest = 0;
  i64 longest = 0;
  double mean = 0;
};
LengthSummary lengths_of(const Episodes& episodes);

}  // namespace orrery
