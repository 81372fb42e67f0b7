#include "plan/simplex.h"

#include <algorithm>
#include <limits>

namespace orrery {

void project_simplex(View<float, 2> rows) {
  const i64 count = rows.size(1);
  check(count >= 1 && rows.contiguous(), "simplex: rows are ", rows.shape(),
        ", contiguous ones of at least one number were needed");
  for (i64 r = 0; r < rows.size(0); ++r) {
    float* v = rows[r].data();
    // the largest number as 0: no sum is too large to feel the 1, and psi is below 0, so that at
    // least the largest stays above it
    const auto top = static_cast<double>(*std::max_element(v, v + count));
    const auto at = [&](i64 i) { return static_cast<double>(v[i]) - top; };
    double psi = -std::numeric_limits<double>::infinity();
    for (i64 left = 0;;) {
      double sum = 0;
      i64 above = 0;
      for (i64 i = 0; i < count; ++i) {
        if (at(i) <= psi) continue;
        sum += at(i);
        ++above;
      }
      if (above == left) break;
      left = above;
      psi = (sum - 1.0) / static_cast<double>(above);
    }
    for (i64 i = 0; i < count; ++i) v[i] = static_cast<float>(std::max(at(i) - psi, 0.0));
  }
}

void one_hot(View<const i64, 2> numbers, i64 categories, View<float, 2> weights) {
  check(categories >= 1 && weights.size(0) == numbers.size(0) &&
            weights.size(1) == numbers.size(1) * categories,
        "one_hot: ", numbers.shape(), " numbers of ", categories, " categories as ",
        weights.shape());
  for (i64 r = 0; r < numbers.size(0); ++r) {
    for (i64 j = 0; j < numbers.size(1); ++j) {
      const i64 chosen = numbers(r, j);
      check(chosen >= 0 && chosen < categories, "one_hot: category ", chosen, ", from 0 to ",
            categories - 1, " was needed");
      for (i64 i = 0; i < categories; ++i) {
        weights(r, j * categories + i) = i == chosen ? 1.0f : 0.0f;
      }
    }
  }
}

void largest_categories(View<const float, 2> weights, i64 categories, View<i64, 2> numbers) {
  check(categories >= 1 && weights.size(0) == numbers.size(0) &&
            weights.size(1) == numbers.size(1) * categories,
        "largest_categories: ", weights.shape(), " weights of ", categories, " categories as ",
        numbers.shape());
  for (i64 r = 0; r < numbers.size(0); ++r) {
    for (i64 j = 0; j < numbers.size(1); ++j) {
      i64 best = 0;
      for (i64 i = 1; i < categories; ++i) {
        if (weights(r, j * categories + i) > weights(r, j * categories + best)) best = i;
      }
      numbers(r, j) = best;
    }
  }
}

}  // namespace orrery
