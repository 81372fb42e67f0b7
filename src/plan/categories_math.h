#pragma once

#include <cmath>

#include "base/host_device.h"
#include "plan/categories.h"

// One choice among categories, for the host and for kernels.
namespace orrery {

// Index of the largest of count numbers, the first of equals.
template <typename T>
ORRERY_HD i64 first_largest(const T* values, i64 count) {
  i64 best = 0;
  for (i64 c = 1; c < count; ++c) {
    if (values[c] > values[best]) best = c;
  }
  return best;
}

// Gumbel-max: the category that is drawn. exact, given the logarithm
template <typename T>
ORRERY_HD i64 drawn_category(const T* probabilities, const T* uniform, i64 count) {
  i64 best = 0;
  double highest = 0;
  for (i64 c = 0; c < count; ++c) {
    const auto p = static_cast<double>(probabilities[c]);
    const auto u = static_cast<double>(uniform[c]);
    const double score = std::log(p > kLeastProbability ? p : kLeastProbability) -
                         std::log(-std::log(u > kLeastProbability ? u : kLeastProbability));
    if (c == 0 || score > highest) {
      best = c;
      highest = score;
    }
  }
  return best;
}

// values = 1 at `category`, else 0
template <typename T>
ORRERY_HD void choose(T* values, i64 category, i64 count) {
  for (i64 c = 0; c < count; ++c) values[c] = c == category ? T{1} : T{0};
}

// The new probabilities of one choice, from how often its categories were among `elites` elites.
// `frequency(c)` gives that count.
template <typename T, typename Frequency>
ORRERY_HD void fit_choice(const Frequency& frequency, i64 elites, const CategoryRule& rule,
                          T* probabilities) {
  double total = 0;
  for (i64 c = 0; c < rule.categories; ++c) {
    total += static_cast<double>(frequency(c)) / static_cast<double>(elites) + rule.smoothing;
  }
  for (i64 c = 0; c < rule.categories; ++c) {
    const double now =
        (static_cast<double>(frequency(c)) / static_cast<double>(elites) + rule.smoothing) / total;
    probabilities[c] = static_cast<T>(rule.momentum * static_cast<double>(probabilities[c]) +
                                      (1 - rule.momentum) * now);
  }
}

}  // namespace orrery
