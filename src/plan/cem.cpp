#include "plan/cem.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace orrery {

namespace {

// the first environments of a group view, which a smaller last group needs
template <typename T, int Rank>
View<T, Rank> first_of(View<T, Rank> view, i64 group) {
  return view.slice(0, 0, group);
}

}  // namespace

template <typename T>
BasicCem<T>::BasicCem(const CemConfig& config, const PlanSizes& sizes, BasicNoise<T>& noise)
    : config_(config), sizes_(sizes), noise_(&noise) {
  check(sizes.environments >= 1 && sizes.horizon >= 1 && sizes.action_dim >= 1,
        "cem: ", sizes.environments, " environments, horizon ", sizes.horizon, ", action width ",
        sizes.action_dim, "; at least one of each is needed");
  check(config.samples >= 1 && config.samples <= std::numeric_limits<i32>::max(),
        "cem: ", config.samples, " samples, at least one is needed");
  check(config.elites >= 1 && config.elites <= config.samples, "cem: ", config.elites,
        " elites of ", config.samples, " samples, from one to all of them are needed");
  check(config.iterations >= 1, "cem: ", config.iterations, " iterations, at least one is needed");
  check(std::isfinite(config.initial_std) && config.initial_std >= 0, "cem: initial std is ",
        config.initial_std, ", a finite number from 0 up was needed");
  check(config.batch_size >= 0, "cem: batch size is ", config.batch_size,
        ", from 0 (all) up was needed");

  group_ =
      config.batch_size == 0 ? sizes.environments : std::min(config.batch_size, sizes.environments);
  Arena measure;
  lay_out(measure);
  memory_ = Block(measure.used());
  Arena arena(memory_);
  lay_out(arena);
}

template <typename T>
void BasicCem<T>::lay_out(Arena& arena) {
  const auto [environments, horizon, dim] = sizes_;
  candidates_ = arena.take<T, 4>({group_, config_.samples, horizon, dim});
  costs_ = arena.take<T, 2>({group_, config_.samples});
  order_ = arena.take<i32, 2>({group_, config_.samples});
  mean_ = arena.take<T, 3>({group_, horizon, dim});
  std_ = arena.take<T, 3>({group_, horizon, dim});
  last_mean_ = arena.take<T, 3>({group_, horizon, dim});
  elite_cost_ = arena.take<T, 1>({group_});
  keys_ = arena.take<PlanKey, 1>({environments});
  figures_ = arena.take<CemFigures<T>, 1>({group_});
}

template <typename T>
void BasicCem<T>::plan(Context& ctx, BasicDynamics<T>& dynamics, const BasicPlanRequest<T>& request,
                       const BasicPlanResult<T>& result) {
  check_plan("cem", sizes_, dynamics, request, result);
  const i64 environments = dynamics.environments();
  for (i64 e = 0; e < environments; ++e) {
    keys_[e] = request.keys.empty() ? PlanKey{e, 0} : request.keys[static_cast<std::size_t>(e)];
  }

  for (i64 first = 0; first < environments; first += group_) {
    const i64 group = std::min(group_, environments - first);
    const std::span<const PlanKey> keys(keys_.data() + first, static_cast<std::size_t>(group));
    start(ctx, dynamics, request.warm_start, first, group);

    for (i64 iteration = 0; iteration < config_.iterations; ++iteration) {
      sample(ctx, keys, iteration, group);
      dynamics.rollout_cost(ctx, first, first_of(candidates_, group), first_of(costs_, group));
      ctx.parallel(group, [&](i64 e, int) {
        refit(e);
        if (observer_) watch(e);
      });
      if (observer_) {
        observer_({first, iteration, first_of(candidates_, group), first_of(costs_, group),
                   first_of(order_, group).slice(1, 0, config_.elites), first_of(mean_, group),
                   first_of(std_, group), first_of(figures_, group)});
      }
    }

    for (i64 e = 0; e < group; ++e) {
      if (result.cost) result.cost[first + e] = elite_cost_[e];
      for (i64 t = 0; t < sizes_.horizon; ++t) {
        for (i64 d = 0; d < sizes_.action_dim; ++d) {
          result.actions(first + e, t, d) = mean_(e, t, d);
          if (result.std) result.std(first + e, t, d) = std_(e, t, d);
        }
      }
    }
  }
}

template <typename T>
void BasicCem<T>::start(Context& ctx, BasicDynamics<T>& dynamics, View<const T, 3> warm_start,
                        i64 first, i64 group) {
  const i64 given = warm_start ? warm_start.size(1) : 0;
  for (i64 e = 0; e < group; ++e) {
    for (i64 t = 0; t < given; ++t) {
      for (i64 d = 0; d < sizes_.action_dim; ++d) mean_(e, t, d) = warm_start(first + e, t, d);
    }
  }
  if (given < sizes_.horizon) {
    const auto mean = first_of(mean_, group);
    dynamics.propose(ctx, first, mean.slice(1, 0, given), mean.slice(1, given, sizes_.horizon));
  }
  std::fill_n(std_.data(), group * sizes_.horizon * sizes_.action_dim,
              static_cast<T>(config_.initial_std));
}

template <typename T>
void BasicCem<T>::sample(Context& ctx, std::span<const PlanKey> keys, i64 iteration, i64 group) {
  noise_->fill(ctx, keys, iteration, first_of(candidates_, group));

  // noise becomes candidates in place
  const i64 width = sizes_.horizon * sizes_.action_dim;
  ctx.parallel_ranges(group * config_.samples, 64, [&](i64 begin, i64 end, int) {
    for (i64 row = begin; row < end; ++row) {
      const i64 e = row / config_.samples;
      const T* mean = mean_.data() + e * width;
      const T* std = std_.data() + e * width;
      T* x = candidates_.data() + row * width;
      if (row % config_.samples == 0) {
        std::copy_n(mean, width, x);
      } else {
        for (i64 i = 0; i < width; ++i) x[i] = mean[i] + std[i] * x[i];
      }
    }
  });
}

template <typename T>
void BasicCem<T>::refit(i64 e) {
  const T* costs = costs_.data() + e * config_.samples;
  i32* order = order_.data() + e * config_.samples;
  std::iota(order, order + config_.samples, 0);
  std::partial_sort(order, order + config_.elites, order + config_.samples, [&](i32 a, i32 b) {
    const bool a_is_nan = std::isnan(costs[a]);
    const bool b_is_nan = std::isnan(costs[b]);
    if (a_is_nan != b_is_nan) return b_is_nan;
    if (!a_is_nan && costs[a] != costs[b]) return costs[a] < costs[b];
    return a < b;
  });

  const auto elites = static_cast<double>(config_.elites);
  double cost_sum = 0;
  for (i64 k = 0; k < config_.elites; ++k) cost_sum += static_cast<double>(costs[order[k]]);
  elite_cost_[e] = static_cast<T>(cost_sum / elites);

  const double divisor = config_.elite_std == EliteStd::sample ? elites - 1 : elites;
  const i64 width = sizes_.horizon * sizes_.action_dim;
  const T* candidates = candidates_.data() + e * config_.samples * width;
  for (i64 i = 0; i < width; ++i) {
    double sum = 0;
    for (i64 k = 0; k < config_.elites; ++k) {
      sum += static_cast<double>(candidates[order[k] * width + i]);
    }
    const double mean = sum / elites;
    double squares = 0;
    for (i64 k = 0; k < config_.elites; ++k) {
      const double away = static_cast<double>(candidates[order[k] * width + i]) - mean;
      squares += away * away;
    }
    T& stored = mean_.data()[e * width + i];
    last_mean_.data()[e * width + i] = stored;
    stored = static_cast<T>(mean);
    // one elite and divisor 0: 0 / 0, the NaN that the released planner has
    std_.data()[e * width + i] = divisor > 0 ? static_cast<T>(std::sqrt(squares / divisor))
                                             : std::numeric_limits<T>::quiet_NaN();
  }
}

template <typename T>
void BasicCem<T>::watch(i64 e) {
  const T* costs = costs_.data() + e * config_.samples;
  const i32* order = order_.data() + e * config_.samples;
  double sum = 0;
  for (i64 s = 0; s < config_.samples; ++s) sum += static_cast<double>(costs[s]);

  const i64 width = sizes_.horizon * sizes_.action_dim;
  double shift = 0;
  double std_sum = 0;
  for (i64 i = e * width; i < (e + 1) * width; ++i) {
    const double step =
        static_cast<double>(mean_.data()[i]) - static_cast<double>(last_mean_.data()[i]);
    shift += step * step;
    std_sum += static_cast<double>(std_.data()[i]);
  }

  // the elites are sorted and NaN is last, so the ends tell everything; a NaN among them makes all
  // three NaN
  const T best = costs[order[0]];
  const T worst = costs[order[config_.elites - 1]];
  figures_[e] = {.best_cost = best,
                 .mean_cost = static_cast<T>(sum / static_cast<double>(config_.samples)),
                 .elite_mean = elite_cost_[e],
                 .elite_min = std::isnan(worst) ? worst : best,
                 .elite_max = worst,
                 .mean_shift = static_cast<T>(std::sqrt(shift)),
                 .std_mean = static_cast<T>(std_sum / static_cast<double>(width))};
}

template class BasicCem<float>;
template class BasicCem<double>;

}  // namespace orrery
