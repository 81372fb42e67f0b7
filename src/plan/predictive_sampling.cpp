#include "plan/predictive_sampling.h"

namespace orrery {

template <typename T>
BasicPredictiveSampling<T>::BasicPredictiveSampling(Context& ctx,
                                                    const PredictiveSamplingConfig& config,
                                                    const PlanSizes& sizes, BasicNoise<T>& noise)
    : BasicSearch<T>(ctx,
                     {.name = "predictive-sampling",
                      .samples = config.samples,
                      .elites = 1,
                      .iterations = 1,
                      .initial_std = config.noise_scale,
                      .batch_size = config.batch_size,
                      .nan = config.nan,
                      .nan_first = config.nan == NanCosts::as_released,
                      .bounds = config.bounds},
                     sizes, noise),
      nan_(config.nan) {}

template <typename T>
void BasicPredictiveSampling<T>::learn(Context& ctx,
                                       const typename BasicSearch<T>::Memory& memory) {
  // the mean of one elite is the elite
  fit_elites<T>(ctx, {memory.candidates, memory.costs, memory.order.slice(1, 0, 1)},
                {.elite_std = EliteStd::population, .nan = nan_},
                {.mean = memory.mean,
                 .std = memory.std,
                 .cost = memory.cost,
                 .best_cost = memory.best_cost,
                 .kept = {}});
}

template class BasicPredictiveSampling<float>;
template class BasicPredictiveSampling<double>;

}  // namespace orrery
