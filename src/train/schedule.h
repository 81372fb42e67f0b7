#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/types.h"

namespace orrery::train {

// Learning rate of an optimiser step, counted from 0: linear warm-up from 0, then a cosine to 0.
//   s < w:   base * s / w
//   else:    base * (1 + cos(pi (s - w) / (steps - w))) / 2
struct Schedule {
  double base = 5e-5;
  i64 warmup = 1;  // w
  i64 steps = 1;

  double learning_rate(i64 step) const {
    if (step < warmup) return base * static_cast<double>(step) / static_cast<double>(warmup);
    const auto span = static_cast<double>(std::max<i64>(1, steps - warmup));
    const double turn = std::min(1.0, static_cast<double>(step - warmup) / span);
    return base * (1.0 + std::cos(std::numbers::pi * turn)) / 2.0;
  }
};

// w = max(1, floor(fraction * steps)), so the first step has learning rate 0 as the published runs
inline i64 warmup_steps(double fraction, i64 steps) {
  return std::max<i64>(1, static_cast<i64>(std::floor(fraction * static_cast<double>(steps))));
}

}  // namespace orrery::train
