#include "device/cuda.h"
#include "plan/categories_math.h"
#include "plan/elites_math.h"

namespace orrery {

namespace {

constexpr int kThreads = 128;

// compute-bound: two double logarithms a number
// one thread makes one choice
__global__ void sample_categories_kernel(const float* uniform, const float* probabilities,
                                         i64 categories, i64 samples, i64 choices, i64 count,
                                         float* candidates) {
  const i64 index = static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= count) return;
  const i64 row = index / choices;
  const i64 e = row / samples;
  const float* p = probabilities + (e * choices + (index - row * choices)) * categories;
  const i64 category = row == e * samples
                           ? first_largest(p, categories)
                           : drawn_category(p, uniform + index * categories, categories);
  choose(candidates + index * categories, category, categories);
}

// latency-bound: elites x categories flags from the cache
// one thread has one choice of one environment
__global__ void fit_categories_kernel(Elites<float> elites, CategoryRule rule,
                                      CategoryFit<float> fit, i64 choices, i64 count) {
  const i64 index = static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= count) return;
  const i64 e = index / choices;
  const i64 width = choices * rule.categories;
  const i64 samples = elites.candidates.size(1);
  const i64 at = (index - e * choices) * rule.categories;
  const float* candidates = elites.candidates.data() + e * samples * width + at;
  const float* costs = elites.costs.data() + e * samples;
  const i32* order = elites.order.data() + e * elites.order.stride(0);
  const i64 usable = usable_elites(costs, order, elites.order.size(1), rule.nan);

  if (at == 0) {
    double cost = 0;
    for (i64 k = 0; k < usable; ++k) cost += static_cast<double>(costs[order[k]]);
    // no elites: the NaN of 0 / 0
    fit.cost.data()[e] = static_cast<float>(cost / static_cast<double>(usable));
  }
  float* p = fit.probabilities.data() + e * width + at;
  const auto frequency = [&](i64 c) {
    i64 among = 0;
    for (i64 k = 0; k < usable; ++k) among += candidates[order[k] * width + c] != 0 ? 1 : 0;
    return among;
  };
  if (usable > 0) fit_choice(frequency, usable, rule, p);
  float* std = fit.std.data() + e * width + at;
  for (i64 c = 0; c < rule.categories; ++c) {
    const auto chance = static_cast<double>(p[c]);
    std[c] = static_cast<float>(sqrt(chance * (1 - chance)));
  }
  choose(fit.answer.data() + e * width + at, first_largest(p, rule.categories), rule.categories);
}

}  // namespace

namespace cuda {

void sample_categories(Context& ctx, View<const float, 4> uniform,
                       View<const float, 3> probabilities, i64 categories,
                       View<float, 4> candidates) {
  const i64 choices = candidates.size(2) * candidates.size(3) / categories;
  const i64 count = candidates.size(0) * candidates.size(1) * choices;
  launch(ctx, {"sample_categories", dim3(blocks_for(count, kThreads)), dim3(kThreads)},
         sample_categories_kernel, uniform.data(), probabilities.data(), categories,
         candidates.size(1), choices, count, candidates.data());
}

void fit_categories(Context& ctx, const Elites<float>& elites, const CategoryRule& rule,
                    const CategoryFit<float>& fit) {
  const i64 choices = fit.probabilities.size(1) * fit.probabilities.size(2) / rule.categories;
  const i64 count = fit.probabilities.size(0) * choices;
  launch(ctx, {"fit_categories", dim3(blocks_for(count, kThreads)), dim3(kThreads)},
         fit_categories_kernel, elites, rule, fit, choices, count);
}

}  // namespace cuda

}  // namespace orrery
