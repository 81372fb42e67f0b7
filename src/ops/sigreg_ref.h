#pragma once

#include <cmath>
#include <vector>

#include "ops/sigreg.h"

namespace orrery {

// t_k, phi_k and w_k of sigreg.h
struct SigregKnots {
  std::vector<double> t, phi, weight;
};
inline SigregKnots sigreg_knots(const SigregSettings& settings) {
  SigregKnots knots;
  const double dt = static_cast<double>(settings.span) / (settings.knots - 1);
  for (int k = 0; k < settings.knots; ++k) {
    knots.t.push_back(k * dt);
    knots.phi.push_back(std::exp(-0.5 * knots.t.back() * knots.t.back()));
    knots.weight.push_back(knots.phi.back() * dt * (k == 0 || k == settings.knots - 1 ? 1 : 2));
  }
  return knots;
}

// The plain loops, in double.
template <typename T>
double sigreg_ref(const SigregSettings& settings, View<const T, 3> z, View<const T, 2> directions,
                  View<T, 2> statistics, View<T, 3> dz) {
  const SigregKnots knots = sigreg_knots(settings);
  const i64 time = z.size(0), batch = z.size(1), dim = z.size(2), projections = directions.size(1);
  const double rows = static_cast<double>(batch);
  const double share = 1.0 / static_cast<double>(time * projections);
  for (i64 t = 0; dz && t < time; ++t) {
    for (i64 b = 0; b < batch; ++b) {
      for (i64 i = 0; i < dim; ++i) dz(t, b, i) = 0;
    }
  }
  double loss = 0;
  std::vector<double> h(static_cast<std::size_t>(batch));
  for (i64 m = 0; m < projections; ++m) {
    double length = 0;
    for (i64 i = 0; i < dim; ++i)
      length += static_cast<double>(directions(i, m)) * static_cast<double>(directions(i, m));
    length = std::sqrt(length);
    for (i64 t = 0; t < time; ++t) {
      for (i64 b = 0; b < batch; ++b) {
        double sum = 0;
        for (i64 i = 0; i < dim; ++i)
          sum += static_cast<double>(z(t, b, i)) * static_cast<double>(directions(i, m));
        h[static_cast<std::size_t>(b)] = sum / length;
      }
      double statistic = 0;
      std::vector<double> dh(h.size());
      for (std::size_t k = 0; k < knots.t.size(); ++k) {
        double cosines = 0, sines = 0;
        for (const double value : h) {
          cosines += std::cos(knots.t[k] * value) / rows;
          sines += std::sin(knots.t[k] * value) / rows;
        }
        const double miss = cosines - knots.phi[k];
        statistic += rows * knots.weight[k] * (miss * miss + sines * sines);
        for (std::size_t b = 0; b < h.size(); ++b) {
          dh[b] += 2 * share * knots.weight[k] * knots.t[k] *
                   (sines * std::cos(knots.t[k] * h[b]) - miss * std::sin(knots.t[k] * h[b]));
        }
      }
      statistics(t, m) = static_cast<T>(statistic);
      loss += share * statistic;
      for (i64 b = 0; dz && b < batch; ++b) {
        for (i64 i = 0; i < dim; ++i) {
          dz(t, b, i) = static_cast<T>(static_cast<double>(dz(t, b, i)) +
                                       dh[static_cast<std::size_t>(b)] *
                                           static_cast<double>(directions(i, m)) / length);
        }
      }
    }
  }
  return loss;
}

}  // namespace orrery
