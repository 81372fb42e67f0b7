#pragma once

#include "ops/squared_norms.h"

namespace orrery {

// The plain loop, in double; not rounded.
template <typename T>
double squared_norm_ref(View<const T, 1> x) {
  double sum = 0;
  for (i64 d = 0; d < x.size(0); ++d) sum += static_cast<double>(x[d]) * static_cast<double>(x[d]);
  return sum;
}

}  // namespace orrery
