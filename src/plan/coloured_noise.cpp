#include "plan/coloured_noise.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <type_traits>

namespace orrery {

namespace cpu {

template <typename T>
void colour_noise(Context& ctx, View<const T, 4> white, View<const double, 1> filter,
                  View<T, 4> coloured) {
  const i64 dim = white.size(2);
  const i64 horizon = white.size(3);
  // a sequence costs about horizon^2 ns; 64 candidates of a usual size are some 20 us
  ctx.parallel_ranges(white.size(0) * white.size(1), 64, [&](i64 begin, i64 end, int) {
    for (i64 row = begin; row < end; ++row) {
      T* out = coloured.data() + row * horizon * dim;
      for (i64 d = 0; d < dim; ++d) {
        const T* x = white.data() + (row * dim + d) * horizon;
        double y[kMostColouredBlocks];
        double sum = 0;
        for (i64 t = 0; t < horizon; ++t) {
          y[t] = 0;
          for (i64 u = 0; u < horizon; ++u) {
            y[t] += filter[t >= u ? t - u : t - u + horizon] * static_cast<double>(x[u]);
          }
          sum += y[t];
        }
        const double mean = sum / static_cast<double>(horizon);
        double squares = 0;
        for (i64 t = 0; t < horizon; ++t) squares += (y[t] - mean) * (y[t] - mean);
        const double std = std::sqrt(squares / static_cast<double>(horizon - 1));
        for (i64 t = 0; t < horizon; ++t) {
          out[t * dim + d] = static_cast<T>(y[t] / std::max(std, 1e-8));
        }
      }
    }
  });
}

}  // namespace cpu
namespace cuda {
void colour_noise(Context& ctx, View<const float, 4> white, View<const double, 1> filter,
                  View<float, 4> coloured);
}  // namespace cuda

std::vector<double> colour_filter(i64 horizon, double beta) {
  check(horizon >= 2 && horizon <= kMostColouredBlocks, "coloured noise: horizon is ", horizon,
        " blocks, 2 to ", kMostColouredBlocks, " were needed");
  check(std::isfinite(beta), "coloured noise: beta is ", beta, ", a finite number was needed");
  const auto length = static_cast<double>(horizon);
  std::vector<double> filter;
  for (i64 j = 0; j < horizon; ++j) {
    double sum = 0;
    for (i64 k = 0; k < horizon; ++k) {
      const i64 bin = std::max<i64>(1, std::min(k, horizon - k));
      // the angle is taken within one turn, where the cosine is most exact
      const double turn = static_cast<double>(k * j % horizon) / length;
      sum += std::pow(static_cast<double>(bin) / length, -beta / 2) *
             std::cos(2 * std::numbers::pi * turn);
    }
    filter.push_back(sum / length);
  }
  return filter;
}

template <typename T>
void colour_noise(Context& ctx, View<const T, 4> white, View<const double, 1> filter,
                  View<T, 4> coloured) {
  const i64 horizon = white.size(3);
  check(horizon >= 2 && horizon <= kMostColouredBlocks && filter.size(0) == horizon,
        "coloured noise: ", horizon, " blocks and a filter of ", filter.size(0), ", 2 to ",
        kMostColouredBlocks, " of both were needed");
  const Shape needed = {white.size(0), white.size(1), horizon, white.size(2)};
  check(coloured.shape() == needed, "coloured noise: noise to fill is ", coloured.shape(), ", ",
        needed, " was needed");
  check(white.contiguous() && filter.contiguous() && coloured.contiguous(),
        "coloured noise: contiguous arrays were needed");
  if constexpr (std::is_same_v<T, float>) {
    ORRERY_ON_DEVICE(ctx, colour_noise, white, filter, coloured);
  } else {
    ORRERY_ON_CPU(ctx, colour_noise, white, filter, coloured);
  }
}

template void colour_noise(Context&, View<const float, 4>, View<const double, 1>, View<float, 4>);
template void colour_noise(Context&, View<const double, 4>, View<const double, 1>, View<double, 4>);

}  // namespace orrery
