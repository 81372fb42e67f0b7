#include "eval/column_scale.h"

#include <cmath>

namespace orrery {

template <typename T>
ColumnScale ColumnScale::of(View<const T, 2> rows) {
  const auto count = static_cast<double>(rows.size(0));
  ColumnScale scale;
  for (i64 c = 0; c < rows.size(1); ++c) {
    double sum = 0, squares = 0;
    for (i64 r = 0; r < rows.size(0); ++r) sum += static_cast<double>(rows(r, c));
    const double mean = sum / count;
    for (i64 r = 0; r < rows.size(0); ++r) {
      const double off = static_cast<double>(rows(r, c)) - mean;
      squares += off * off;
    }
    const double deviation = std::sqrt(squares / count);
    scale.mean.push_back(mean);
    // a constant's deviation is what its mean was rounded by
    scale.inverse.push_back(deviation > 1e-9 * (1 + std::abs(mean)) ? 1 / deviation : 0.0);
  }
  return scale;
}

template ColumnScale ColumnScale::of(View<const float, 2> rows);
template ColumnScale ColumnScale::of(View<const double, 2> rows);

}  // namespace orrery
