#pragma once

#include <cmath>

#include "ops/adamw.h"

namespace orrery {

template <typename T>
AdamWFactors<T> adamw_factors(const AdamW& settings, i64 step) {
  const double beta1 = static_cast<double>(settings.beta1);
  const double beta2 = static_cast<double>(settings.beta2);
  const double lr = static_cast<double>(settings.lr);
  const double t = static_cast<double>(step);
  return {.keep = static_cast<T>(1.0 - lr * static_cast<double>(settings.weight_decay)),
          .beta1 = static_cast<T>(beta1),
          .rest1 = static_cast<T>(1.0 - beta1),
          .beta2 = static_cast<T>(beta2),
          .rest2 = static_cast<T>(1.0 - beta2),
          .step_size = static_cast<T>(lr / (1.0 - std::pow(beta1, t))),
          .root = static_cast<T>(std::sqrt(1.0 - std::pow(beta2, t))),
          .eps = static_cast<T>(settings.eps)};
}

// One element. With T = float the vector kernel gives the same bits: no operation is fused.
template <typename T>
void adamw_element_ref(const AdamWFactors<T>& f, T gradient, T& parameter, T& m, T& v) {
  const T kept = parameter * f.keep;
  m = f.beta1 * m + f.rest1 * gradient;
  v = f.beta2 * v + f.rest2 * (gradient * gradient);
  parameter = kept - f.step_size * (m / (std::sqrt(v) / f.root + f.eps));
}

}  // namespace orrery
