#pragma once

#include <cmath>

#include "ops/batch_norm.h"

namespace orrery {

template <typename T>
void batch_norm_ref(View<const T, 2> x, View<const T, 1> gain, View<const T, 1> bias, double eps,
                    double momentum, View<T, 1> running_mean, View<T, 1> running_var, View<T, 2> y,
                    View<T, 1> mean, View<T, 1> rstd) {
  const double rows = static_cast<double>(x.size(0));
  for (i64 d = 0; d < x.size(1); ++d) {
    double sum = 0, squares = 0;
    for (i64 r = 0; r < x.size(0); ++r) sum += static_cast<double>(x(r, d));
    const double mu = sum / rows;
    for (i64 r = 0; r < x.size(0); ++r)
      squares += (static_cast<double>(x(r, d)) - mu) * (static_cast<double>(x(r, d)) - mu);
    const double scale = 1.0 / std::sqrt(squares / rows + eps);
    for (i64 r = 0; r < x.size(0); ++r) {
      y(r, d) = static_cast<T>((static_cast<double>(x(r, d)) - mu) * scale *
                                   static_cast<double>(gain(d)) +
                               static_cast<double>(bias(d)));
    }
    running_mean(d) =
        static_cast<T>((1 - momentum) * static_cast<double>(running_mean(d)) + momentum * mu);
    running_var(d) = static_cast<T>((1 - momentum) * static_cast<double>(running_var(d)) +
                                    momentum * squares / (rows - 1));
    mean(d) = static_cast<T>(mu);
    rstd(d) = static_cast<T>(scale);
  }
}

template <typename T>
void batch_norm_backward_ref(View<const T, 2> x, View<const T, 1> gain, View<const T, 1> mean,
                             View<const T, 1> rstd, View<const T, 2> dy, View<T, 2> dx,
                             View<T, 1> dgain, View<T, 1> dbias) {
  const double rows = static_cast<double>(x.size(0));
  for (i64 d = 0; d < x.size(1); ++d) {
    const double mu = static_cast<double>(mean(d));
    const double scale = static_cast<double>(rstd(d));
    double sum = 0, sum_n = 0;
    for (i64 r = 0; r < x.size(0); ++r) {
      sum += static_cast<double>(dy(r, d));
      sum_n += static_cast<double>(dy(r, d)) * (static_cast<double>(x(r, d)) - mu) * scale;
    }
    for (i64 r = 0; r < x.size(0); ++r) {
      const double n = (static_cast<double>(x(r, d)) - mu) * scale;
      dx(r, d) = static_cast<T>(static_cast<double>(gain(d)) * scale *
                                (static_cast<double>(dy(r, d)) - sum / rows - n * sum_n / rows));
    }
    dgain(d) = static_cast<T>(static_cast<double>(dgain(d)) + sum_n);
    dbias(d) = static_cast<T>(static_cast<double>(dbias(d)) + sum);
  }
}

template <typename T>
void batch_norm_apply_ref(View<const T, 2> x, View<const T, 1> gain, View<const T, 1> bias,
                          View<const T, 1> mean, View<const T, 1> var, double eps, View<T, 2> y) {
  for (i64 r = 0; r < x.size(0); ++r) {
    for (i64 d = 0; d < x.size(1); ++d) {
      const double n = (static_cast<double>(x(r, d)) - static_cast<double>(mean(d))) /
                       std::sqrt(static_cast<double>(var(d)) + eps);
      y(r, d) = static_cast<T>(n * static_cast<double>(gain(d)) + static_cast<double>(bias(d)));
    }
  }
}

}  // namespace orrery
