#pragma once

#include <cmath>

#include "ops/activation.h"

namespace orrery {

// In double. erfc, not erf, on the left: 1 + erf(v) would lose everything there.
inline double activation_ref(Activation activation, double v) {
  switch (activation) {
    case Activation::gelu:
      return 0.5 * v * std::erfc(-v / std::sqrt(2.0));
    case Activation::silu:
      return v / (1.0 + std::exp(-v));
    case Activation::none:
      break;
  }
  return v;
}

inline double activation_slope_ref(Activation activation, double v) {
  switch (activation) {
    case Activation::gelu: {
      const double density = std::exp(-0.5 * v * v) / std::sqrt(2.0 * std::acos(-1.0));
      return 0.5 * std::erfc(-v / std::sqrt(2.0)) + v * density;
    }
    case Activation::silu: {
      const double s = 1.0 / (1.0 + std::exp(-v));
      return s + v * s * (1.0 - s);
    }
    case Activation::none:
      break;
  }
  return 1.0;
}

}  // namespace orrery
