#pragma once

#include <cmath>
#include <vector>

#include "ops/linear_attention.h"

namespace orrery {

// The plain loops, every weight on its own: quadratic in the tokens.
template <typename T>
void linear_attention_ref(View<const T, 4> q, View<const T, 4> k, View<const T, 4> v,
                          View<T, 4> out) {
  const auto phi = [](T u) {
    const auto x = static_cast<double>(u);
    return x > 0 ? x + 1.0 : std::exp(x);
  };
  for (i64 b = 0; b < q.size(0); ++b) {
    for (i64 h = 0; h < q.size(2); ++h) {
      std::vector<double> keys;
      for (i64 s = 0; s < k.size(1); ++s) {
        for (i64 i = 0; i < k.size(3); ++i) keys.push_back(phi(k(b, s, h, i)));
      }
      for (i64 t = 0; t < q.size(1); ++t) {
        std::vector<double> query, sums(static_cast<std::size_t>(q.size(3)));
        for (i64 i = 0; i < q.size(3); ++i) query.push_back(phi(q(b, t, h, i)));
        double all = 1e-6;
        for (i64 s = 0; s < k.size(1); ++s) {
          double weight = 0;
          for (std::size_t i = 0; i < query.size(); ++i) {
            weight += query[i] * keys[static_cast<std::size_t>(s) * query.size() + i];
          }
          all += weight;
          for (std::size_t i = 0; i < sums.size(); ++i) {
            sums[i] += weight * static_cast<double>(v(b, s, h, static_cast<i64>(i)));
          }
        }
        for (std::size_t i = 0; i < sums.size(); ++i) {
          out(b, t, h, static_cast<i64>(i)) = static_cast<T>(sums[i] / all);
        }
      }
    }
  }
}

}  // namespace orrery
