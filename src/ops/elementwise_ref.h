#pragma once

#include "ops/elementwise.h"

namespace orrery {

// The plain loops; sums in double.
template <typename T>
void add_column_sums_ref(View<const T, 2> x, View<T, 1> sums) {
  for (i64 d = 0; d < x.size(1); ++d) {
    double sum = 0;
    for (i64 r = 0; r < x.size(0); ++r) sum += static_cast<double>(x(r, d));
    sums(d) = static_cast<T>(static_cast<double>(sums(d)) + sum);
  }
}

template <typename T>
double sum_of_squares_ref(View<const T, 1> x) {
  double sum = 0;
  for (i64 i = 0; i < x.size(0); ++i) sum += static_cast<double>(x(i)) * static_cast<double>(x(i));
  return sum;
}

template <typename T>
void squared_distances_ref(View<const T, 2> a, View<const T, 2> b, double factor, View<T, 1> out) {
  for (i64 r = 0; r < a.size(0); ++r) {
    double sum = 0;
    for (i64 d = 0; d < a.size(1); ++d) {
      const double difference = static_cast<double>(a(r, d)) - static_cast<double>(b(r, d));
      sum += difference * difference;
    }
    out(r) = static_cast<T>(factor * sum);
  }
}

}  // namespace orrery
