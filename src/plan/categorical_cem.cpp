#include "plan/categorical_cem.h"

#include <cmath>

#include "plan/categories_math.h"

namespace orrery {

template <typename T>
BasicCategoricalCem<T>::BasicCategoricalCem(Context& ctx, const CategoricalCemConfig& config,
                                            const PlanSizes& sizes, BasicNoise<T>& noise)
    : BasicSearch<T>(ctx,
                     {.name = "categorical-cem",
                      .samples = config.samples,
                      .elites = config.elites,
                      .iterations = config.iterations,
                      .enough_std = config.enough_std,
                      .batch_size = config.batch_size,
                      .nan = config.nan,
                      .categories = config.categories,
                      .kept = 1},
                     sizes, noise),
      config_(config) {
  check(config.categories >= 1 && sizes.action_dim % config.categories == 0,
        "categorical-cem: blocks of ", sizes.action_dim, " numbers are no choices among ",
        config.categories, " categories");
  check(std::isfinite(config.smoothing) && config.smoothing >= 0, "categorical-cem: smoothing is ",
        config.smoothing, ", a finite number from 0 up was needed");
  check(config.momentum >= 0 && config.momentum < 1, "categorical-cem: momentum is ",
        config.momentum, ", 0 up to less than 1 was needed");
}

template <typename T>
void BasicCategoricalCem<T>::sample(Context& ctx, const Memory& memory,
                                    View<const i32, 1> iteration) {
  this->noise().fill_uniform(ctx, memory.keys, iteration, memory.candidates);
  sample_categories<T>(ctx, memory.candidates, memory.mean, config_.categories, memory.candidates);
}

template <typename T>
void BasicCategoricalCem<T>::learn(Context& ctx, const Memory& memory) {
  fit_categories<T>(ctx,
                    {memory.candidates, memory.costs, memory.order.slice(1, 0, config_.elites)},
                    {.categories = config_.categories,
                     .smoothing = config_.smoothing,
                     .momentum = config_.momentum,
                     .nan = config_.nan},
                    {.probabilities = memory.mean,
                     .std = memory.std,
                     .cost = memory.cost,
                     .answer = memory.kept});
}

template <typename T>
const T* BasicCategoricalCem<T>::answer(const Memory& memory, i64 e, T& cost) const {
  cost = memory.cost[e];
  return &memory.kept(e, 0, 0, 0);
}

std::vector<i64> categories_of(View<const float, 2> plan, i64 categories) {
  check(categories >= 1 && plan.size(1) % categories == 0 && plan.contiguous(),
        "categories: a plan of ", plan.shape(), " is no choices among ", categories, " categories");
  std::vector<i64> chosen;
  for (i64 at = 0; at < plan.numel(); at += categories) {
    chosen.push_back(first_largest(plan.data() + at, categories));
  }
  return chosen;
}

template class BasicCategoricalCem<float>;
template class BasicCategoricalCem<double>;

}  // namespace orrery
