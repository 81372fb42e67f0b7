#include <algorithm>
#include <cmath>

#include "ops/latent_terms.h"

// plain loops: a batch of latents is a hundred thousand numbers, beside teraflops of a step
namespace orrery::cpu {

namespace {

void add_up(BatchSums* sums, View<double, 1> values) {
  if (sums != nullptr) sums->add_up(values);
}

// mean [groups, D] of x [groups, members, D]
template <typename T>
void mean_over_members(View<T, 3> x, const Over& over, View<double, 2> mean) {
  for (i64 g = 0; g < x.size(0); ++g) {
    for (i64 d = 0; d < x.size(2); ++d) {
      double sum = 0;
      for (i64 m = 0; m < x.size(1); ++m) sum += static_cast<double>(x(g, m, d));
      mean(g, d) = sum / over.members;
    }
  }
  add_up(over.sums, mean.flat());
}

template <typename T>
void centre(View<T, 3> from, const Over& over, View<double, 2> mean, bool add, View<double, 3> to) {
  mean_over_members(from, over, mean);
  for (i64 g = 0; g < from.size(0); ++g) {
    for (i64 m = 0; m < from.size(1); ++m) {
      for (i64 d = 0; d < from.size(2); ++d) {
        to(g, m, d) = (add ? to(g, m, d) : 0.0) + static_cast<double>(from(g, m, d)) - mean(g, d);
      }
    }
  }
}

}  // namespace

void prediction_term(Context&, View<const float, 3> z, View<const float, 3> pred, i64 first,
                     const LatentTerm& term, View<float, 3> dpred) {
  const auto count = static_cast<double>(term.windows * pred.size(1) * pred.size(2));
  double sum = 0;
  for (i64 b = 0; b < pred.size(0); ++b) {
    for (i64 t = 0; t < pred.size(1); ++t) {
      for (i64 d = 0; d < pred.size(2); ++d) {
        const double error =
            static_cast<double>(pred(b, t, d)) - static_cast<double>(z(b, first + t, d));
        sum += error * error;
        const double slope = term.weight * 2.0 * error / count;
        dpred(b, t, d) = static_cast<float>(slope);
        if (term.dz) term.dz(b, first + t, d) -= slope;
      }
    }
  }
  term.value[0] = sum / count;
}

void alignment_term(Context&, View<const float, 3> z, const LatentTerm& term) {
  const auto count = static_cast<double>(term.windows * (z.size(1) - 1) * z.size(2));
  double sum = 0;
  for (i64 b = 0; b < z.size(0); ++b) {
    for (i64 t = 0; t + 1 < z.size(1); ++t) {
      for (i64 d = 0; d < z.size(2); ++d) {
        const double step = static_cast<double>(z(b, t + 1, d)) - static_cast<double>(z(b, t, d));
        sum += step * step;
        const double slope = term.weight * 2.0 * step / count;
        term.dz(b, t + 1, d) += slope;
        term.dz(b, t, d) -= slope;
      }
    }
  }
  term.value[0] = sum / count;
}

void straightening_term(Context&, View<const float, 3> z, const LatentTerm& term) {
  constexpr double kEps = 1e-8;  // PyTorch's floor of each length
  const auto count = static_cast<double>(term.windows * (z.size(1) - 2));
  term.value[0] = 0;
  if (count <= 0) return;
  double sum = 0;
  for (i64 b = 0; b < z.size(0); ++b) {
    for (i64 t = 0; t + 2 < z.size(1); ++t) {
      const auto velocity = [&](i64 at, i64 d) {
        return static_cast<double>(z(b, at + 1, d)) - static_cast<double>(z(b, at, d));
      };
      double dot = 0, first = 0, second = 0;
      for (i64 d = 0; d < z.size(2); ++d) {
        const double u = velocity(t, d), v = velocity(t + 1, d);
        dot += u * v;
        first += u * u;
        second += v * v;
      }
      const double u_length = std::max(std::sqrt(first), kEps);
      const double v_length = std::max(std::sqrt(second), kEps);
      const double cosine = dot / (u_length * v_length);
      sum -= cosine;
      // d cos / du = v / (|u| |v|) - cos u / |u|^2, the second part only where the length counts
      const double u_part = std::sqrt(first) > kEps ? cosine / first : 0.0;
      const double v_part = std::sqrt(second) > kEps ? cosine / second : 0.0;
      const double factor = -term.weight / count;
      for (i64 d = 0; d < z.size(2); ++d) {
        const double u = velocity(t, d), v = velocity(t + 1, d);
        const double du = factor * (v / (u_length * v_length) - u_part * u);
        const double dv = factor * (u / (u_length * v_length) - v_part * v);
        term.dz(b, t, d) -= du;
        term.dz(b, t + 1, d) += du - dv;
        term.dz(b, t + 2, d) += dv;
      }
    }
  }
  term.value[0] = sum / count;
}

void centre_members(Context&, View<const float, 3> x, const Over& over, View<double, 2> mean,
                    View<double, 3> to) {
  centre(x, over, mean, false, to);
}

void add_centred(Context&, View<const double, 3> x, const Over& over, View<double, 2> mean,
                 View<double, 3> to) {
  centre(x, over, mean, true, to);
}

void spread_term(Context&, View<const double, 3> c, const Over& over, double weight,
                 View<double, 3> dc, View<double, 2> mean, View<double, 2> square,
                 View<double, 1> value) {
  constexpr double kFloor = 1e-4;
  const double count = over.groups * static_cast<double>(c.size(2));
  mean_over_members(c, over, mean);
  for (i64 g = 0; g < c.size(0); ++g) {
    for (i64 d = 0; d < c.size(2); ++d) {
      double sum = 0;
      for (i64 m = 0; m < c.size(1); ++m) {
        sum += (c(g, m, d) - mean(g, d)) * (c(g, m, d) - mean(g, d));
      }
      square(g, d) = sum;
    }
  }
  add_up(over.sums, square.flat());
  double sum = 0;
  for (i64 g = 0; g < c.size(0); ++g) {
    for (i64 d = 0; d < c.size(2); ++d) {
      const double deviation = std::sqrt(square(g, d) / (over.members - 1) + kFloor);
      if (deviation >= 1.0) continue;
      sum += 1.0 - deviation;
      const double factor = -weight / (count * (over.members - 1) * deviation);
      for (i64 m = 0; m < c.size(1); ++m) dc(g, m, d) += factor * (c(g, m, d) - mean(g, d));
    }
  }
  value[0] = sum / count;
}

void covariance_term(Context&, View<const double, 3> c, const Over& over, double weight,
                     View<double, 3> dc, View<double, 2> covariance, View<double, 1> value) {
  const i64 width = c.size(2);
  const double pairs = static_cast<double>(width) * static_cast<double>(width - 1);
  value[0] = 0;
  if (width < 2) return;
  double sum = 0;
  for (i64 g = 0; g < c.size(0); ++g) {
    std::fill_n(covariance.data(), covariance.numel(), 0.0);
    for (i64 m = 0; m < c.size(1); ++m) {
      for (i64 i = 0; i < width; ++i) {
        const double part = c(g, m, i) / (over.members - 1);
        for (i64 j = 0; j < width; ++j) covariance(i, j) += part * c(g, m, j);
      }
    }
    add_up(over.sums, covariance.flat());
    for (i64 i = 0; i < width; ++i) {
      covariance(i, i) = 0.0;
      for (i64 j = 0; j < width; ++j) sum += covariance(i, j) * covariance(i, j);
    }
    const double factor = 4.0 * weight / (over.groups * pairs * (over.members - 1));
    for (i64 m = 0; m < c.size(1); ++m) {
      for (i64 i = 0; i < width; ++i) {
        double slope = 0;
        for (i64 j = 0; j < width; ++j) slope += covariance(i, j) * c(g, m, j);
        dc(g, m, i) += factor * slope;
      }
    }
  }
  value[0] = sum / (over.groups * pairs);
}

void add_by_time(Context&, double weight, View<const float, 3> slopes, View<double, 3> dz) {
  for (i64 b = 0; b < dz.size(0); ++b) {
    for (i64 t = 0; t < dz.size(1); ++t) {
      for (i64 d = 0; d < dz.size(2); ++d) {
        dz(b, t, d) += weight * static_cast<double>(slopes(t, b, d));
      }
    }
  }
}

void round_to(Context&, View<const double, 1> from, View<float, 1> to) {
  for (i64 i = 0; i < to.size(0); ++i) to[i] = static_cast<float>(from[i]);
}

void weighted_total(Context&, View<const double, 1> weights, View<const double, 1> values,
                    View<double, 1> total) {
  total[0] = 0;
  for (i64 i = 0; i < weights.size(0); ++i) total[0] += weights[i] * values[i];
}

void add_weighted(Context&, double weight, View<const double, 1> value, View<double, 1> total) {
  total[0] += weight * value[0];
}

void join_mean(Context&, double share, View<const double, 1> newest, View<double, 1> mean) {
  for (i64 i = 0; i < mean.size(0); ++i) {
    mean[i] = share == 1.0 ? newest[i] : mean[i] + share * (newest[i] - mean[i]);
  }
}

}  // namespace orrery::cpu
