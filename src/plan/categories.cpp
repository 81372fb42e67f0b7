#include "plan/categories.h"

#include <type_traits>

#include "plan/categories_math.h"
#include "plan/elites_math.h"

namespace orrery {

namespace cpu {

template <typename T>
void sample_categories(Context& ctx, View<const T, 4> uniform, View<const T, 3> probabilities,
                       i64 categories, View<T, 4> candidates) {
  const i64 samples = candidates.size(1);
  const i64 width = candidates.size(2) * candidates.size(3);
  const i64 choices = width / categories;
  ctx.parallel_ranges(candidates.size(0) * samples, 16, [&](i64 begin, i64 end, int) {
    for (i64 row = begin; row < end; ++row) {
      const T* p = probabilities.data() + row / samples * width;
      for (i64 j = 0; j < choices; ++j) {
        const i64 at = row * width + j * categories;
        const i64 category = row % samples == 0 ? first_largest(p + j * categories, categories)
                                                : drawn_category(p + j * categories,
                                                                 uniform.data() + at, categories);
        choose(candidates.data() + at, category, categories);
      }
    }
  });
}

template <typename T>
void fit_categories(Context& ctx, const Elites<T>& elites, const CategoryRule& rule,
                    const CategoryFit<T>& fit) {
  const i64 samples = elites.candidates.size(1);
  const i64 width = fit.probabilities.size(1) * fit.probabilities.size(2);
  ctx.parallel(fit.probabilities.size(0), [&](i64 e, int) {
    const T* candidates = elites.candidates.data() + e * samples * width;
    const T* costs = elites.costs.data() + e * samples;
    const i32* order = &elites.order(e, 0);
    const i64 usable = usable_elites(costs, order, elites.order.size(1), rule.nan);
    double cost = 0;
    for (i64 k = 0; k < usable; ++k) cost += static_cast<double>(costs[order[k]]);
    // no elites: the NaN of 0 / 0
    fit.cost[e] = static_cast<T>(cost / static_cast<double>(usable));
    for (i64 at = 0; at < width; at += rule.categories) {
      T* p = fit.probabilities.data() + e * width + at;
      const auto frequency = [&](i64 c) {
        i64 count = 0;
        for (i64 k = 0; k < usable; ++k) count += candidates[order[k] * width + at + c] != 0;
        return count;
      };
      if (usable > 0) fit_choice(frequency, usable, rule, p);
      T* std = fit.std.data() + e * width + at;
      for (i64 c = 0; c < rule.categories; ++c) {
        std[c] =
            static_cast<T>(std::sqrt(static_cast<double>(p[c]) * (1 - static_cast<double>(p[c]))));
      }
      choose(fit.answer.data() + e * width + at, first_largest(p, rule.categories),
             rule.categories);
    }
  });
}

}  // namespace cpu
namespace cuda {
void sample_categories(Context& ctx, View<const float, 4> uniform,
                       View<const float, 3> probabilities, i64 categories,
                       View<float, 4> candidates);
void fit_categories(Context& ctx, const Elites<float>& elites, const CategoryRule& rule,
                    const CategoryFit<float>& fit);
}  // namespace cuda

namespace {

void check_categories(const char* name, i64 categories, i64 action_dim) {
  check(categories >= 1 && action_dim % categories == 0, name, ": blocks of ", action_dim,
        " numbers are no choices among ", categories, " categories");
}

}  // namespace

template <typename T>
void sample_categories(Context& ctx, View<const T, 4> uniform, View<const T, 3> probabilities,
                       i64 categories, View<T, 4> candidates) {
  const Shape all = candidates.shape();
  const Shape one = {all[0], all[2], all[3]};
  check_categories("categories", categories, all[3]);
  check(uniform.shape() == all && probabilities.shape() == one, "categories: draws are ",
        uniform.shape(), ", probabilities ", probabilities.shape(), "; ", all, " and ", one,
        " were needed");
  check(uniform.contiguous() && probabilities.contiguous() && candidates.contiguous(),
        "categories: contiguous arrays were needed");
  if constexpr (std::is_same_v<T, float>) {
    ORRERY_ON_DEVICE(ctx, sample_categories, uniform, probabilities, categories, candidates);
  } else {
    ORRERY_ON_CPU(ctx, sample_categories, uniform, probabilities, categories, candidates);
  }
}

template <typename T>
void fit_categories(Context& ctx, const Elites<T>& elites, const CategoryRule& rule,
                    const CategoryFit<T>& fit) {
  const Shape x = elites.candidates.shape();
  const Shape one = {x[0], x[2], x[3]};
  check_categories("categories", rule.categories, x[3]);
  check(elites.costs.size(0) == x[0] && elites.costs.size(1) == x[1] &&
            elites.order.size(0) == x[0] && elites.order.size(1) >= 1 &&
            elites.order.size(1) <= x[1],
        "categories: costs are ", elites.costs.shape(), ", elites ", elites.order.shape(),
        ", candidates ", x);
  check(fit.probabilities.shape() == one && fit.std.shape() == one &&
            fit.answer.shape() == Shape({x[0], 1, x[2], x[3]}) && fit.cost.size(0) == x[0],
        "categories: probabilities are ", fit.probabilities.shape(), ", std ", fit.std.shape(),
        ", answer ", fit.answer.shape(), ", cost ", fit.cost.shape(), "; candidates are ", x);
  check(elites.candidates.contiguous() && elites.costs.contiguous() &&
            elites.order.stride(1) == 1 && fit.probabilities.contiguous() && fit.std.contiguous() &&
            fit.answer.contiguous() && fit.cost.contiguous(),
        "categories: contiguous arrays were needed");
  if constexpr (std::is_same_v<T, float>) {
    ORRERY_ON_DEVICE(ctx, fit_categories, elites, rule, fit);
  } else {
    ORRERY_ON_CPU(ctx, fit_categories, elites, rule, fit);
  }
}

template void sample_categories(Context&, View<const float, 4>, View<const float, 3>, i64,
                                View<float, 4>);
template void sample_categories(Context&, View<const double, 4>, View<const double, 3>, i64,
                                View<double, 4>);
template void fit_categories(Context&, const Elites<float>&, const CategoryRule&,
                             const CategoryFit<float>&);
template void fit_categories(Context&, const Elites<double>&, const CategoryRule&,
                             const CategoryFit<double>&);

}  // namespace orrery
