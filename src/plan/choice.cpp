#include "plan/choice.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "plan/categorical_cem.h"
#include "plan/cem.h"
#include "plan/mppi.h"
#include "plan/predictive_sampling.h"

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

constexpr double kIcemMomentum = 0.1;

}  // namespace

const std::vector<std::string>& planner_names() {
  static const std::vector<std::string> names = {
      "cem",      "icem", "mppi",      "predictive-sampling", "categorical-cem",
      "gradient", "pgd",  "lagrangian"};
  return names;
}

PlannerChoice follow_upstream(PlannerChoice choice, const std::string& version) {
  check(version == "0.1.1" || version == "later", "upstream version is \"", version,
        "\", needed 0.1.1 or later");
  const bool later = version == "later";
  choice.nan = NanCosts::as_released;
  choice.elite_std = later ? EliteStd::population : EliteStd::sample;
  if (choice.answer != IcemAnswer::mean) {
    choice.answer = later ? IcemAnswer::best : IcemAnswer::best_with_mean_cost;
  }
  choice.bound_scale = BoundScale::none;
  choice.descent.answer = later ? DescentAnswer::final_cost : DescentAnswer::last_step_cost;
  return choice;
}

std::unique_ptr<Planner> make_planner(Context& ctx, const PlannerChoice& choice,
                                      const PlanSizes& sizes, const ActionScale& scale,
                                      Noise& noise) {
  const auto& names = planner_names();
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  check(std::find(names.begin(), names.end(), choice.name) != names.end(), "planner is \"",
        choice.name, "\", needed one of ", known);
  if (descends(choice.name)) {
    check(!choice.action_limit, choice.name, ": action limits are of planners that sample, ",
          choice.action_limit.value_or(0.0), " was given");
    return make_descent(ctx, choice.name,
                        {.samples = choice.samples,
                         .steps = choice.iterations,
                         .initial_std = choice.initial_std,
                         .batch_size = choice.batch_size,
                         .categories = choice.categories},
                        choice.descent, sizes, noise);
  }
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
                                           .nan = choice.nan,
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
                                             .nan = choice.nan,
                                             .min_std = choice.min_std,
                                             .enough_std = choice.enough_std,
                                             .noise_beta = choice.noise_beta,
                                             .momentum = choice.momentum.value_or(kIcemMomentum),
                                             .keep = choice.keep,
                                             .answer = choice.answer,
                                             .bounds = bounds},
                                  sizes, noise);
  }
  if (choice.name == "predictive-sampling") {
    return std::make_unique<PredictiveSampling>(
        ctx,
        PredictiveSamplingConfig{.samples = choice.samples,
                                 .noise_scale = choice.initial_std,
                                 .batch_size = choice.batch_size,
                                 .nan = choice.nan,
                                 .bounds = bounds},
        sizes, noise);
  }
  if (choice.name == "categorical-cem") {
    check(bounds.low.empty(), "categorical-cem: categories have no limits, one of ",
          choice.action_limit.value_or(0.0), " was given");
    return std::make_unique<CategoricalCem>(
        ctx,
        CategoricalCemConfig{.categories = choice.categories,
                             .samples = choice.samples,
                             .elites = choice.elites,
                             .iterations = choice.iterations,
                             .smoothing = choice.smoothing,
                             .momentum = choice.momentum.value_or(0.0),
                             .batch_size = choice.batch_size,
                             .enough_std = choice.enough_std,
                             .nan = choice.nan},
        sizes, noise);
  }
  check(choice.name == "mppi", "planner is \"", choice.name, "\", one that samples was needed");
  return std::make_unique<Mppi>(ctx,
                                MppiConfig{.samples = choice.samples,
                                           .elites = choice.elites,
                                           .iterations = choice.iterations,
                                           .initial_std = choice.initial_std,
                                           .temperature = choice.temperature,
                                           .batch_size = choice.batch_size,
                                           .nan = choice.nan,
                                           .bounds = bounds},
                                sizes, noise);
}

}  // namespace orrery
