#include "plan/cem.h"

#include <cmath>

namespace orrery {

template <typename T>
BasicCem<T>::BasicCem(Context& ctx, const CemConfig& config, const PlanSizes& sizes,
                      BasicNoise<T>& noise)
    : BasicSearch<T>(ctx,
                     {.name = "cem",
                      .samples = config.samples,
                      .elites = config.elites,
                      .iterations = config.iterations,
                      .initial_std = config.initial_std,
                      .enough_std = config.enough_std,
                      .batch_size = config.batch_size,
                      .nan = config.nan,
                      .bounds = config.bounds},
                     sizes, noise),
      config_(config) {
  check(std::isfinite(config.min_std) && config.min_std >= 0, "cem: least std is ", config.min_std,
        ", a finite number from 0 up was needed");
}

template <typename T>
void BasicCem<T>::learn(Context& ctx, const typename BasicSearch<T>::Memory& memory) {
  fit_elites<T>(ctx, {memory.candidates, memory.costs, memory.order.slice(1, 0, config_.elites)},
                {.elite_std = config_.elite_std,
                 .momentum = 0,
                 .min_std = config_.min_std,
                 .nan = config_.nan},
                {.mean = memory.mean,
                 .std = memory.std,
                 .cost = memory.cost,
                 .best_cost = memory.best_cost,
                 .kept = {}});
}

template class BasicCem<float>;
template class BasicCem<double>;

}  // namespace orrery
