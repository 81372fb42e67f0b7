#include "plan/mppi.h"

#include <cmath>

namespace orrery {

template <typename T>
BasicMppi<T>::BasicMppi(Context& ctx, const MppiConfig& config, const PlanSizes& sizes,
                        BasicNoise<T>& noise)
    : BasicSearch<T>(ctx,
                     {.name = "mppi",
                      .samples = config.samples,
                      .elites = config.elites,
                      .iterations = config.iterations,
                      .initial_std = config.initial_std,
                      .batch_size = config.batch_size,
                      .nan = config.nan,
                      .bounds = config.bounds,
                      .weighs = true},
                     sizes, noise),
      config_(config) {
  check(std::isfinite(config.temperature) && config.temperature > 0, "mppi: temperature is ",
        config.temperature, ", a finite number above 0 was needed");
}

template <typename T>
void BasicMppi<T>::learn(Context& ctx, const typename BasicSearch<T>::Memory& memory) {
  weigh_elites<T>(ctx, {memory.candidates, memory.costs, memory.order.slice(1, 0, config_.elites)},
                  config_.temperature, config_.nan,
                  {.mean = memory.mean, .cost = memory.cost, .weights = memory.weights});
}

template class BasicMppi<float>;
template class BasicMppi<double>;

}  // namespace orrery
