#pragma once

#include <span>
#include <vector>

#include "data/episodes.h"

namespace orrery {

// Of each component of a column over all its rows; rows with any NaN are left out, as the official
// readers do.
struct ColumnStatistics {
  std::vector<double> mean;
  std::vector<double> deviation;  // population: sqrt(mean((x - mean)^2))
  i64 rows = 0;                   // that counted
  i64 rows_with_nan = 0;

  i64 width() const { return static_cast<i64>(mean.size()); }
};

// Sums in double. A column without a single whole row is an error.
// steady
ColumnStatistics column_statistics(const Episodes& episodes, i64 column);

// The q-th percentile (0 to 100) of each component, by NumPy's linear rule, over the same rows.
// exact
std::vector<double> column_percentile(const Episodes& episodes, i64 column, double q);

// z = (x - mean) / max(deviation, 1e-8), in float32; a NaN becomes 0, the mean. And back, where 0
// is the mean. exact
class ZScore {
 public:
  ZScore() = default;
  explicit ZScore(const ColumnStatistics& statistics);
  ZScore(std::span<const double> mean, std::span<const double> deviation);

  i64 width() const { return static_cast<i64>(mean_.size()); }
  std::span<const float> mean() const { return mean_; }
  std::span<const float> scale() const { return scale_; }
  // values [any number of rows, width], in place
  void normalise(std::span<float> values) const;
  void restore(std::span<float> values) const;

 private:
  void check_rows(std::size_t values) const;

  std::vector<float> mean_;
  std::vector<float> scale_;
};

}  // namespace orrery
