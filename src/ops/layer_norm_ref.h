#pragma once

#include <cmath>

#include "ops/layer_norm.h"

namespace orrery {

template <typename T>
void layer_norm_ref(View<const T, 2> x, View<const T, 1> gain, View<const T, 1> bias, double eps,
                    View<T, 2> y, View<T, 1> mean, View<T, 1> rstd) {
  const i64 dim = x.size(1);
  for (i64 r = 0; r < x.size(0); ++r) {
    double sum = 0;
    for (i64 i = 0; i < dim; ++i) sum += static_cast<double>(x(r, i));
    const double mu = sum / static_cast<double>(dim);
    double squares = 0;
    for (i64 i = 0; i < dim; ++i)
      squares += (static_cast<double>(x(r, i)) - mu) * (static_cast<double>(x(r, i)) - mu);
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(dim) + eps);
    for (i64 i = 0; i < dim; ++i) {
      double value = (static_cast<double>(x(r, i)) - mu) * scale;
      if (gain) value = value * static_cast<double>(gain(i)) + static_cast<double>(bias(i));
      y(r, i) = static_cast<T>(value);
    }
    if (mean) mean(r) = static_cast<T>(mu);
    if (rstd) rstd(r) = static_cast<T>(scale);
  }
}

template <typename T>
void layer_norm_backward_ref(View<const T, 2> x, View<const T, 1> gain, View<const T, 1> mean,
                             View<const T, 1> rstd, View<const T, 2> dy, bool accumulate_dx,
                             View<T, 2> dx, View<T, 1> dgain, View<T, 1> dbias) {
  const i64 dim = x.size(1);
  for (i64 r = 0; r < x.size(0); ++r) {
    const double mu = static_cast<double>(mean(r));
    const double scale = static_cast<double>(rstd(r));
    double mean_g = 0, mean_gn = 0;
    for (i64 i = 0; i < dim; ++i) {
      const double n = (static_cast<double>(x(r, i)) - mu) * scale;
      const double dyi = static_cast<double>(dy(r, i));
      const double g = gain ? dyi * static_cast<double>(gain(i)) : dyi;
      mean_g += g / static_cast<double>(dim);
      mean_gn += g * n / static_cast<double>(dim);
      if (dgain) dgain(i) = static_cast<T>(static_cast<double>(dgain(i)) + dyi * n);
      if (dbias) dbias(i) = static_cast<T>(static_cast<double>(dbias(i)) + dyi);
    }
    for (i64 i = 0; i < dim; ++i) {
      const double n = (static_cast<double>(x(r, i)) - mu) * scale;
      const double dyi = static_cast<double>(dy(r, i));
      const double g = gain ? dyi * static_cast<double>(gain(i)) : dyi;
      const double value = scale * (g - mean_g - n * mean_gn);
      dx(r, i) = static_cast<T>(accumulate_dx ? static_cast<double>(dx(r, i)) + value : value);
    }
  }
}

}  // namespace orrery
