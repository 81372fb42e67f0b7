#pragma once

#include <vector>

#include "tensor/view.h"

namespace orrery {

// Mean and population deviation of the columns of a table, to measure their numbers by.
struct ColumnScale {
  std::vector<double> mean, inverse;  // 1 / deviation, 0 of constants

  // rows [n, D], n >= 1
  template <typename T>
  static ColumnScale of(View<const T, 2> rows);

  // (x - mean) / deviation of column `c`; 0 of a constant
  double standardised(i64 c, double x) const {
    const auto at = static_cast<std::size_t>(c);
    return (x - mean[at]) * inverse[at];
  }
};

}  // namespace orrery
