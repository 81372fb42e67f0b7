#include "plan/icem.h"

#include <cmath>

#include "plan/coloured_noise.h"

namespace orrery {

namespace {

// how many of the best an iteration stores: those that return, and one when it may be the answer
i64 stored(const IcemConfig& config) {
  const i64 returning = std::min(config.keep, config.elites);
  return config.answer == IcemAnswer::mean ? returning : std::max<i64>(returning, 1);
}

}  // namespace

template <typename T>
BasicIcem<T>::BasicIcem(Context& ctx, const IcemConfig& config, const PlanSizes& sizes,
                        BasicNoise<T>& noise)
    : BasicSearch<T>(ctx,
                     {.name = "icem",
                      .samples = config.samples,
                      .elites = config.elites,
                      .iterations = config.iterations,
                      .initial_std = config.initial_std,
                      .enough_std = config.enough_std,
                      .batch_size = config.batch_size,
                      .nan = config.nan,
                      .bounds = config.bounds,
                      .kept = std::max<i64>(stored(config), 0),
                      .filter = colour_filter(sizes.horizon, config.noise_beta)},
                     sizes, noise),
      config_(config) {
  check(std::isfinite(config.min_std) && config.min_std >= 0, "icem: least std is ", config.min_std,
        ", a finite number from 0 up was needed");
  check(config.momentum >= 0 && config.momentum < 1, "icem: momentum is ", config.momentum,
        ", 0 up to less than 1 was needed");
  check(config.keep >= 0, "icem: ", config.keep, " elites to keep, from 0 up were needed");
  check(returning() < config.samples, "icem: ", returning(),
        " kept elites and the mean do not fit ", config.samples, " samples");
}

template <typename T>
void BasicIcem<T>::learn(Context& ctx, const Memory& memory) {
  fit_elites<T>(ctx, {memory.candidates, memory.costs, memory.order.slice(1, 0, config_.elites)},
                {.elite_std = config_.elite_std,
                 .momentum = config_.momentum,
                 .min_std = config_.min_std,
                 .nan = config_.nan},
                {.mean = memory.mean,
                 .std = memory.std,
                 .cost = memory.cost,
                 .best_cost = memory.best_cost,
                 .kept = memory.kept});
}

template <typename T>
const T* BasicIcem<T>::answer(const Memory& memory, i64 e, T& cost) const {
  if (config_.answer == IcemAnswer::mean) return BasicSearch<T>::answer(memory, e, cost);
  cost = config_.answer == IcemAnswer::best ? memory.best_cost[e] : memory.cost[e];
  return &memory.kept(e, 0, 0, 0);
}

template class BasicIcem<float>;
template class BasicIcem<double>;

}  // namespace orrery
