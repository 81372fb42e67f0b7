#include "plan/elites.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>

#include "plan/elites_math.h"

namespace orrery {

namespace cpu {

template <typename T>
void lowest_costs(Context& ctx, View<const T, 2> all, i64 count, View<i32, 2> orders,
                  bool nan_first) {
  ctx.parallel(all.size(0), [&](i64 e, int) {
    const i64 samples = all.size(1);
    const T* costs = all.data() + e * samples;
    i32* order = orders.data() + e * samples;
    std::iota(order, order + samples, 0);
    std::partial_sort(order, order + count, order + samples, [&](i32 a, i32 b) {
      const bool a_is_nan = std::isnan(costs[a]);
      const bool b_is_nan = std::isnan(costs[b]);
      if (a_is_nan != b_is_nan) return nan_first ? a_is_nan : b_is_nan;
      if (!a_is_nan && costs[a] != costs[b]) return costs[a] < costs[b];
      return a < b;
    });
  });
}

namespace {

template <typename T>
double mean_cost(const Elites<T>& elites, i64 e, i64 count) {
  if (count == 0) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  for (i64 k = 0; k < count; ++k) {
    sum += static_cast<double>(elites.costs(e, elites.order(e, k)));
  }
  return sum / static_cast<double>(count);
}

// elites of one environment that count
template <typename T>
i64 usable_of(const Elites<T>& elites, i64 e, NanCosts nan) {
  const T* costs = elites.costs.data() + e * elites.costs.size(1);
  return usable_elites(costs, &elites.order(e, 0), elites.order.size(1), nan);
}

}  // namespace

template <typename T>
void fit_elites(Context& ctx, const Elites<T>& elites, const FitRule& rule, const Fit<T>& fit) {
  const i64 samples = elites.candidates.size(1);
  const i64 width = fit.mean.size(1) * fit.mean.size(2);
  const auto blended = [&](double before, double now) {
    return rule.momentum == 0 ? now : rule.momentum * before + (1 - rule.momentum) * now;
  };
  ctx.parallel(fit.mean.size(0), [&](i64 e, int) {
    const i64 count = usable_of(elites, e, rule.nan);
    const auto divisor =
        static_cast<double>(rule.elite_std == EliteStd::sample ? count - 1 : count);
    // one of several: see the header
    const bool std_stays = divisor == 0 && elites.order.size(1) > 1;
    fit.cost[e] = static_cast<T>(mean_cost(elites, e, count));
    const T* candidates = elites.candidates.data() + e * samples * width;
    const i32* order = &elites.order(e, 0);
    fit.best_cost[e] = elites.costs(e, order[0]);
    for (i64 i = 0; i < width && count > 0; ++i) {
      double sum = 0;
      for (i64 k = 0; k < count; ++k) sum += static_cast<double>(candidates[order[k] * width + i]);
      const double mean = sum / static_cast<double>(count);
      double squares = 0;
      for (i64 k = 0; k < count; ++k) {
        const double away = static_cast<double>(candidates[order[k] * width + i]) - mean;
        squares += away * away;
      }
      // one elite and divisor 0: the NaN of 0 / 0 that the released planner has
      const double std =
          divisor > 0 ? std::sqrt(squares / divisor) : std::numeric_limits<double>::quiet_NaN();
      T& stored_mean = fit.mean.data()[e * width + i];
      T& stored_std = fit.std.data()[e * width + i];
      stored_mean = static_cast<T>(blended(static_cast<double>(stored_mean), mean));
      const double blended_std = std_stays ? static_cast<double>(stored_std)
                                           : blended(static_cast<double>(stored_std), std);
      stored_std = static_cast<T>(blended_std < rule.min_std ? rule.min_std : blended_std);
    }
    const i64 kept = fit.kept ? fit.kept.size(1) : 0;
    for (i64 k = 0; k < kept; ++k) {
      std::copy_n(candidates + order[k] * width, width, fit.kept.data() + (e * kept + k) * width);
    }
  });
}

template <typename T>
void weigh_elites(Context& ctx, const Elites<T>& elites, double temperature, NanCosts nan,
                  const Weighing<T>& weighing) {
  const i64 samples = elites.candidates.size(1);
  const i64 width = weighing.mean.size(1) * weighing.mean.size(2);
  const i64 count = elites.order.size(1);
  ctx.parallel(weighing.mean.size(0), [&](i64 e, int) {
    const i64 usable = usable_of(elites, e, nan);
    weighing.cost[e] = static_cast<T>(mean_cost(elites, e, usable));
    const i32* order = &elites.order(e, 0);
    const auto weight = [&](i64 k) {
      return std::exp(-cost_above(elites.costs(e, order[k]), elites.costs(e, order[0]), nan) /
                      temperature);
    };
    double sum = 0;
    for (i64 k = 0; k < usable; ++k) sum += weight(k);
    // as released a NaN is last in the order, and in sum
    for (i64 k = 0; k < count; ++k) {
      weighing.weights(e, k) = k < usable ? static_cast<T>(weight(k) / sum) : T{0};
    }
    if (usable == 0) return;

    const T* candidates = elites.candidates.data() + e * samples * width;
    T* mean = weighing.mean.data() + e * width;
    for (i64 i = 0; i < width; ++i) {
      double total = 0;
      for (i64 k = 0; k < usable; ++k) {
        total += static_cast<double>(weighing.weights(e, k)) *
                 static_cast<double>(candidates[order[k] * width + i]);
      }
      mean[i] = static_cast<T>(total);
    }
  });
}

}  // namespace cpu
namespace cuda {
void lowest_costs(Context& ctx, View<const float, 2> costs, i64 count, View<i32, 2> order,
                  bool nan_first);
void fit_elites(Context& ctx, const Elites<float>& elites, const FitRule& rule,
                const Fit<float>& fit);
void weigh_elites(Context& ctx, const Elites<float>& elites, double temperature, NanCosts nan,
                  const Weighing<float>& weighing);
}  // namespace cuda

namespace {

template <typename T>
void check_elites(const char* name, const Elites<T>& elites, View<const T, 3> mean,
                  View<const T, 1> cost) {
  const auto& x = elites.candidates;
  check(elites.costs.size(0) == x.size(0) && elites.costs.size(1) == x.size(1), name,
        ": costs are ", elites.costs.shape(), ", candidates ", x.shape());
  check(elites.order.size(0) == x.size(0) && elites.order.size(1) >= 1 &&
            elites.order.size(1) <= x.size(1),
        name, ": elites are ", elites.order.shape(), ", candidates ", x.shape());
  const Shape one = {x.size(0), x.size(2), x.size(3)};
  check(mean.shape() == one && cost.size(0) == x.size(0), name, ": mean is ", mean.shape(),
        ", cost ", cost.shape(), "; ", one, " and (", x.size(0), ") was needed");
  check(x.contiguous() && elites.costs.contiguous() && elites.order.stride(1) == 1 &&
            mean.contiguous() && cost.contiguous(),
        name, ": contiguous arrays were needed");
}

}  // namespace

template <typename T>
void lowest_costs(Context& ctx, View<const T, 2> costs, i64 count, View<i32, 2> order,
                  bool nan_first) {
  check(order.shape() == costs.shape(), "lowest costs: order is ", order.shape(), ", costs ",
        costs.shape());
  check(count >= 1 && count <= costs.size(1), "lowest costs: ", count, " of ", costs.size(1),
        " were asked for");
  check(costs.contiguous() && order.contiguous(), "lowest costs: contiguous arrays were needed");
  if constexpr (std::is_same_v<T, float>) {
    ORRERY_ON_DEVICE(ctx, lowest_costs, costs, count, order, nan_first);
  } else {
    ORRERY_ON_CPU(ctx, lowest_costs, costs, count, order, nan_first);
  }
}

template <typename T>
void fit_elites(Context& ctx, const Elites<T>& elites, const FitRule& rule, const Fit<T>& fit) {
  check_elites<T>("fit", elites, fit.mean, fit.cost);
  check(fit.std.shape() == fit.mean.shape() && fit.std.contiguous(), "fit: std is ",
        fit.std.shape(), ", mean ", fit.mean.shape());
  check(fit.best_cost.size(0) == fit.cost.size(0), "fit: best costs are ", fit.best_cost.shape(),
        ", costs ", fit.cost.shape());
  check(!fit.kept ||
            (fit.kept.size(0) == fit.mean.size(0) && fit.kept.size(1) <= elites.order.size(1) &&
             fit.kept.size(2) == fit.mean.size(1) && fit.kept.size(3) == fit.mean.size(2) &&
             fit.kept.contiguous()),
        "fit: kept are ", fit.kept.shape(), ", elites ", elites.order.shape());
  if constexpr (std::is_same_v<T, float>) {
    ORRERY_ON_DEVICE(ctx, fit_elites, elites, rule, fit);
  } else {
    ORRERY_ON_CPU(ctx, fit_elites, elites, rule, fit);
  }
}

template <typename T>
void weigh_elites(Context& ctx, const Elites<T>& elites, double temperature, NanCosts nan,
                  const Weighing<T>& weighing) {
  check_elites<T>("weighing", elites, weighing.mean, weighing.cost);
  check(weighing.weights.shape() == elites.order.shape() && weighing.weights.contiguous(),
        "weighing: weights are ", weighing.weights.shape(), ", elites ", elites.order.shape());
  check(temperature > 0, "weighing: temperature is ", temperature, ", more than 0 was needed");
  if constexpr (std::is_same_v<T, float>) {
    ORRERY_ON_DEVICE(ctx, weigh_elites, elites, temperature, nan, weighing);
  } else {
    ORRERY_ON_CPU(ctx, weigh_elites, elites, temperature, nan, weighing);
  }
}

template void lowest_costs(Context&, View<const float, 2>, i64, View<i32, 2>, bool);
template void lowest_costs(Context&, View<const double, 2>, i64, View<i32, 2>, bool);
template void fit_elites(Context&, const Elites<float>&, const FitRule&, const Fit<float>&);
template void fit_elites(Context&, const Elites<double>&, const FitRule&, const Fit<double>&);
template void weigh_elites(Context&, const Elites<float>&, double, NanCosts,
                           const Weighing<float>&);
template void weigh_elites(Context&, const Elites<double>&, double, NanCosts,
                           const Weighing<double>&);

}  // namespace orrery
