#include "plan/choice.h"

#include <cmath>
#include <limits>

#include "plan/cem.h"
#include "plan/mppi.h"

namespace orrery {

namespace {

ActionBounds bounds_of(const PlannerChoice& choice, const PlanSizes& sizes,
                       const ActionScale& scale) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  const double limit = choice.action_limit.value_or(choice.name == "icem" ? 1.0 : kNone);
  check(limit > 0, choice.name, ": action limit is ", limit, ", more than 0 was needed");
  if (limit == kNone) return {};
  const i64 raw_dim = scale.mean.empty() ? sizes.action_dim : static_cast<i64>(scale.mean.size());
  check(sizes.action_dim % raw_dim == 0, choice.name, ": a block has ", sizes.action_dim,
        " numbers, the action scale is of ", raw_dim);
  const auto count = static_cast<std::size_t>(raw_dim);
  return action_bounds(std::vector<double>(count, -limit), std::vector<double>(count, limit), scale,
                       sizes.action_dim / raw_dim, choice.bound_scale);
}

}  // namespace

std::unique_ptr<Planner> make_planner(Context& ctx, const PlannerChoice& choice,
                                      const PlanSizes& sizes, const ActionScale& scale,
                                      Noise& noise) {
  return make_search(ctx, choice, sizes, scale, noise);
}

std::unique_ptr<Search> make_search(Context& ctx, const PlannerChoice& choice,
                                    const PlanSizes& sizes, const ActionScale& scale,
                                    Noise& noise) {
  const ActionBounds bounds = bounds_of(choice, sizes, scale);
  if (choice.name == "cem") {
    return std::make_unique<Cem>(ctx,
                                 CemConfig{.samples = choice.samples,
                                           .elites = choice.elites,
                                           .iterations = choice.iterations,
                                           .initial_std = choice.initial_std,
                                           .elite_std = choice.elite_std,
                                           .batch_size = choice.batch_size,
                                           .min_std = choice.min_std,
                                           .enough_std = choice.enough_std,
                                           .bounds = bounds},
                                 sizes, noise);
  }
  if (choice.name == "icem") {
    return std::make_unique<Icem>(ctx,
                                  IcemConfig{.samples = choice.samples,
                                             .elites = choice.elites,
                                             .iterations = choice.iterations,
                                             .initial_std = choice.initial_std,
                                             .elite_std = choice.elite_std,
                                             .batch_size = choice.batch_size,
                                             .min_std = choice.min_std,
                                             .enough_std = choice.enough_std,
                                             .noise_beta = choice.noise_beta,
                                             .momentum = choice.momentum,
                                             .keep = choice.keep,
                                             .answer = choice.answer,
                                             .bounds = bounds},
                                  sizes, noise);
  }
  check(choice.name == "mppi", "planner is \"", choice.name, "\", needed cem, icem or mppi");
  return std::make_unique<Mppi>(ctx,
                                MppiConfig{.samples = choice.samples,
                                           .elites = choice.elites,
                                           .iterations = choice.iterations,
                                           .initial_std = choice.initial_std,
                                           .temperature = choice.temperature,
                                           .batch_size = choice.batch_size,
                                           .bounds = bounds},
                                sizes, noise);
}

}  // namespace orrery
