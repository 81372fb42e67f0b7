#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/attention.h"

namespace orrery {

// The plain loops, in double, one (batch, head) pair. `seen` keys are visible to query t.
template <typename T>
struct AttentionPair {
  View<const T, 4> q, k, v;
  double scale;
  bool causal;
  i64 b, h;

  i64 seen(i64 t) const { return causal ? t + k.size(1) - q.size(1) + 1 : k.size(1); }
  double score(i64 t, i64 s) const {
    double sum = 0;
    for (i64 i = 0; i < q.size(3); ++i)
      sum += static_cast<double>(q(b, t, h, i)) * static_cast<double>(k(b, s, h, i));
    return scale * sum;
  }
};

template <typename T>
void attention_ref(View<const T, 4> q, View<const T, 4> k, View<const T, 4> v, double scale,
                   bool causal, View<T, 4> out, View<T, 3> log_sum) {
  for (i64 b = 0; b < q.size(0); ++b) {
    for (i64 h = 0; h < q.size(2); ++h) {
      const AttentionPair<T> pair{q, k, v, scale, causal, b, h};
      for (i64 t = 0; t < q.size(1); ++t) {
        std::vector<double> p;
        for (i64 s = 0; s < pair.seen(t); ++s) p.push_back(pair.score(t, s));
        const double top = *std::max_element(p.begin(), p.end());
        double sum = 0;
        for (double& value : p) sum += value = std::exp(value - top);
        for (i64 i = 0; i < q.size(3); ++i) {
          double total = 0;
          for (std::size_t s = 0; s < p.size(); ++s)
            total += p[s] / sum * static_cast<double>(v(b, static_cast<i64>(s), h, i));
          out(b, t, h, i) = static_cast<T>(total);
        }
        if (log_sum) log_sum(b, h, t) = static_cast<T>(top + std::log(sum));
      }
    }
  }
}

template <typename T>
void attention_backward_ref(View<const T, 4> q, View<const T, 4> k, View<const T, 4> v,
                            double scale, bool causal, View<const T, 4> out,
                            View<const T, 3> log_sum, View<const T, 4> dout, View<T, 4> dq,
                            View<T, 4> dk, View<T, 4> dv) {
  const i64 dim = q.size(3);
  for (i64 b = 0; b < q.size(0); ++b) {
    for (i64 h = 0; h < q.size(2); ++h) {
      const AttentionPair<T> pair{q, k, v, scale, causal, b, h};
      for (i64 t = 0; t < q.size(1); ++t) {
        for (i64 i = 0; i < dim; ++i) dq(b, t, h, i) = 0;
      }
      for (i64 s = 0; s < k.size(1); ++s) {
        for (i64 i = 0; i < dim; ++i) dk(b, s, h, i) = dv(b, s, h, i) = 0;
      }
      for (i64 t = 0; t < q.size(1); ++t) {
        // sum_s p dp, by the softmax's linearity <dout, out>
        double mean = 0;
        for (i64 i = 0; i < dim; ++i)
          mean += static_cast<double>(dout(b, t, h, i)) * static_cast<double>(out(b, t, h, i));
        for (i64 s = 0; s < pair.seen(t); ++s) {
          const double p = std::exp(pair.score(t, s) - static_cast<double>(log_sum(b, h, t)));
          double dp = 0;
          for (i64 i = 0; i < dim; ++i)
            dp += static_cast<double>(dout(b, t, h, i)) * static_cast<double>(v(b, s, h, i));
          const double dscore = scale * p * (dp - mean);
          for (i64 i = 0; i < dim; ++i) {
            dv(b, s, h, i) += static_cast<T>(p * static_cast<double>(dout(b, t, h, i)));
            dk(b, s, h, i) += static_cast<T>(dscore * static_cast<double>(q(b, t, h, i)));
            dq(b, t, h, i) += static_cast<T>(dscore * static_cast<double>(k(b, s, h, i)));
          }
        }
      }
    }
  }
}

}  // namespace orrery
