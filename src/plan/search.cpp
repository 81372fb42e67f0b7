#include "plan/search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "plan/candidates.h"
#include "plan/coloured_noise.h"
#include "plan/elites_math.h"
#include "plan/progress.h"

namespace orrery {

namespace {

// the first environments of a group view, which a smaller last group needs
template <typename T, int Rank>
View<T, Rank> first_of(View<T, Rank> view, i64 group) {
  return view ? view.slice(0, 0, group) : view;
}

// bytes from the beginning of one array to the end of another of the same block
template <typename From, typename To>
std::size_t bytes_between(From from, To to) {
  return static_cast<std::size_t>(reinterpret_cast<const std::byte*>(to.data() + to.numel()) -
                                  reinterpret_cast<const std::byte*>(from.data()));
}

template <typename T>
void append(const SearchFigures<T>& figures, PlanTrace& trace) {
  trace.best_cost.push_back(static_cast<double>(figures.best_cost));
  trace.mean_cost.push_back(static_cast<double>(figures.mean_cost));
  trace.elite_mean.push_back(static_cast<double>(figures.elite_mean));
  trace.elite_min.push_back(static_cast<double>(figures.elite_min));
  trace.elite_max.push_back(static_cast<double>(figures.elite_max));
  trace.elite_spread.push_back(static_cast<double>(figures.elite_spread));
  trace.spread.push_back(static_cast<double>(figures.std_mean));
  trace.mean_shift.push_back(static_cast<double>(figures.mean_shift));
}

}  // namespace

template <typename T>
BasicSearch<T>::BasicSearch(Context& ctx, SearchSettings settings, const PlanSizes& sizes,
                            BasicNoise<T>& noise)
    : settings_(std::move(settings)), sizes_(sizes), device_(ctx.device()), noise_(&noise) {
  const SearchSettings& s = settings_;
  check(sizes.environments >= 1 && sizes.horizon >= 1 && sizes.action_dim >= 1, s.name, ": ",
        sizes.environments, " environments, horizon ", sizes.horizon, ", action width ",
        sizes.action_dim, "; at least one of each is needed");
  check(s.samples >= 1 && s.samples <= std::numeric_limits<i32>::max(), s.name, ": ", s.samples,
        " samples, at least one is needed");
  check(s.elites >= 1 && s.elites <= s.samples, s.name, ": ", s.elites, " elites of ", s.samples,
        " samples, from one to all of them are needed");
  check(s.iterations >= 1 && s.iterations <= std::numeric_limits<i32>::max(), s.name, ": ",
        s.iterations, " iterations, at least one is needed");
  check(std::isfinite(s.initial_std) && s.initial_std >= 0, s.name, ": initial std is ",
        s.initial_std, ", a finite number from 0 up was needed");
  check(std::isfinite(s.enough_std) && s.enough_std >= 0, s.name, ": enough std is ", s.enough_std,
        ", a finite number from 0 up was needed");
  check(s.batch_size >= 0, s.name, ": batch size is ", s.batch_size,
        ", from 0 (all) up was needed");

  group_ = s.batch_size == 0 ? sizes.environments : std::min(s.batch_size, sizes.environments);
  Arena measure;
  lay_out(measure, false);
  block_ = Block(ctx, measure.used());
  Arena arena(block_);
  memory_ = lay_out(arena, false);
  if (device_ == Device::cpu) seen_ = memory_;

  Arena measure_staging;
  lay_out(measure_staging, true);
  staging_block_ = Block::staging(ctx, measure_staging.used());
  Arena staging_arena(staging_block_);
  staging_ = lay_out(staging_arena, true);

  const auto lay_out_figures = [&](Arena& figures_arena) {
    figures_ = figures_arena.take<SearchFigures<T>, 1>({group_});
    last_mean_ = figures_arena.take<T, 3>({group_, sizes.horizon, sizes.action_dim});
  };
  Arena measure_figures;
  lay_out_figures(measure_figures);
  figures_block_ = Block(measure_figures.used());
  Arena figures_arena(figures_block_);
  lay_out_figures(figures_arena);

  if (!s.filter.empty()) {
    ctx.upload(memory_.filter.data(), s.filter.data(), s.filter.size() * sizeof(double));
    ctx.synchronize();
  }
  set_bounds(s.bounds);
}

template <typename T>
typename BasicSearch<T>::Memory BasicSearch<T>::lay_out(Arena& arena, bool answers_only) const {
  const SearchSettings& s = settings_;
  const i64 horizon = sizes_.horizon;
  const i64 dim = sizes_.action_dim;
  Memory memory;
  memory.keys = arena.take<PlanKey, 1>({group_});
  memory.low = arena.take<T, 1>({dim});
  memory.high = arena.take<T, 1>({dim});
  memory.clock = arena.take<u64, 1>({kClockSize});
  memory.progress = arena.take<i32, 1>({kProgressSize});
  memory.mean = arena.take<T, 3>({group_, horizon, dim});
  memory.std = arena.take<T, 3>({group_, horizon, dim});
  memory.cost = arena.take<T, 1>({group_});
  memory.best_cost = arena.take<T, 1>({group_});
  memory.kept = arena.take<T, 4>({group_, s.kept, horizon, dim});
  if (answers_only) return memory;
  memory.candidates = arena.take<T, 4>({group_, s.samples, horizon, dim});
  memory.costs = arena.take<T, 2>({group_, s.samples});
  memory.order = arena.take<i32, 2>({group_, s.samples});
  if (s.weighs) memory.weights = arena.take<T, 2>({group_, s.elites});
  if (!s.filter.empty()) {
    memory.white = arena.take<T, 4>({group_, s.samples, dim, horizon});
    memory.filter = arena.take<double, 1>({horizon});
  }
  return memory;
}

template <typename T>
typename BasicSearch<T>::Memory BasicSearch<T>::of_group(const Memory& whole, i64 group) const {
  Memory memory = whole;
  memory.keys = first_of(whole.keys, group);
  memory.mean = first_of(whole.mean, group);
  memory.std = first_of(whole.std, group);
  memory.cost = first_of(whole.cost, group);
  memory.best_cost = first_of(whole.best_cost, group);
  memory.kept = first_of(whole.kept, group);
  memory.candidates = first_of(whole.candidates, group);
  memory.costs = first_of(whole.costs, group);
  memory.order = first_of(whole.order, group);
  memory.weights = first_of(whole.weights, group);
  memory.white = first_of(whole.white, group);
  return memory;
}

template <typename T>
void BasicSearch<T>::observe(std::function<void(const SearchIteration<T>&)> observer) {
  observer_ = std::move(observer);
}

template <typename T>
void BasicSearch<T>::set_bounds(const ActionBounds& bounds) {
  const auto width = static_cast<std::size_t>(sizes_.action_dim);
  check((bounds.low.empty() && bounds.high.empty()) ||
            (bounds.low.size() == width && bounds.high.size() == width),
        settings_.name, ": ", bounds.low.size(), " low and ", bounds.high.size(),
        " high bounds, a block has ", width, " numbers");
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  for (std::size_t d = 0; d < width; ++d) {
    const bool bounded = !bounds.low.empty();
    check(!bounded || bounds.low[d] <= bounds.high[d], settings_.name, ": bounds of number ", d,
          " are ", bounded ? bounds.low[d] : 0.0, " and ", bounded ? bounds.high[d] : 0.0,
          ", low was needed first");
    staging_.low[static_cast<i64>(d)] = bounded ? static_cast<T>(bounds.low[d]) : -kInfinity;
    staging_.high[static_cast<i64>(d)] = bounded ? static_cast<T>(bounds.high[d]) : kInfinity;
  }
}

template <typename T>
void BasicSearch<T>::plan(Context& ctx, BasicDynamics<T>& dynamics,
                          const BasicPlanRequest<T>& request, const BasicPlanResult<T>& result) {
  check_plan(settings_.name, sizes_, dynamics, request, result);
  check(ctx.device() == device_, settings_.name, ": made for ", name_of(device_),
        ", asked to plan on ", name_of(ctx.device()));
  const i64 environments = dynamics.environments();
  if (this->traces_ != nullptr) {
    this->traces_->assign(static_cast<std::size_t>(environments), PlanTrace());
  }
  for (i64 first = 0; first < environments; first += group_) {
    const i64 group = std::min(group_, environments - first);
    prepare(request, first, group);
    begin(ctx, dynamics, first, group);
    iterate_while_wanted(ctx, dynamics, first, group);
    finish(ctx);
    ctx.synchronize();
    hand_over(result, first, group);
  }
}

template <typename T>
void BasicSearch<T>::prepare(const BasicPlanRequest<T>& request, i64 first, i64 group) {
  const auto& warm = request.warm_start;
  given_ = warm ? warm.size(1) : 0;
  const bool chooses = settings_.categories > 0;
  const double chance = chooses ? 1 / static_cast<double>(settings_.categories) : 0;
  // every choice is open at first: there is nothing to be warm or proposed
  if (chooses) given_ = sizes_.horizon;
  for (i64 e = 0; e < group; ++e) {
    staging_.keys[e] = request.keys.empty() ? PlanKey{first + e, 0}
                                            : request.keys[static_cast<std::size_t>(first + e)];
    for (i64 t = 0; t < sizes_.horizon; ++t) {
      for (i64 d = 0; d < sizes_.action_dim; ++d) {
        staging_.mean(e, t, d) = chooses      ? static_cast<T>(chance)
                                 : t < given_ ? warm(first + e, t, d)
                                              : T{0};
        staging_.std(e, t, d) =
            static_cast<T>(chooses ? std::sqrt(chance * (1 - chance)) : settings_.initial_std);
      }
    }
  }
  check(std::isfinite(request.budget_ms) && request.budget_ms >= 0, settings_.name,
        ": a budget of ", request.budget_ms, " ms, a finite number from 0 up was needed");
  limited_ = request.budget_ms > 0;
  // 0 means no limit, so a budget is one nanosecond at least
  budget_ns_ = limited_ ? std::max<u64>(1, static_cast<u64>(request.budget_ms * 1e6)) : 0;
  // by a clock of the host the host decides, see iterate_while_wanted
  clock_ = limited_ ? request.clock : nullptr;
  if (clock_ != nullptr) began_ns_ = (*clock_)();
  staging_.clock[kBudget] = clock_ == nullptr ? budget_ns_ : 0;
  staging_.clock[kBegan] = 0;
  staging_.progress[kIterationsDone] = 0;
  staging_.progress[kKeepGoing] = 1;
}

template <typename T>
void BasicSearch<T>::begin(Context& ctx, BasicDynamics<T>& dynamics, i64 first, i64 group) {
  ctx.upload(memory_.keys.data(), staging_.keys.data(), bytes_between(staging_.keys, staging_.std));
  start_clock(ctx, memory_.clock);
  if (given_ < sizes_.horizon) {
    const auto mean = first_of(memory_.mean, group);
    dynamics.propose(ctx, first, mean.slice(1, 0, given_), mean.slice(1, given_, sizes_.horizon));
  }
}

template <typename T>
void BasicSearch<T>::iterate(Context& ctx, BasicDynamics<T>& dynamics, i64 first, i64 group) {
  const Memory now = of_group(memory_, group);
  sample(ctx, now, now.progress.slice(0, kIterationsDone, kIterationsDone + 1));
  dynamics.rollout_cost(ctx, first, now.candidates, now.costs);
  lowest_costs<T>(ctx, now.costs, settings_.elites, now.order, settings_.nan_first);
  learn(ctx, now);
  // a spread of nothing is not to end a search that was not asked to end early
  const double enough = settings_.enough_std > 0 ? settings_.enough_std : -1;
  advance<T>(ctx, now.std, settings_.iterations, enough, now.clock, now.progress);
}

template <typename T>
void BasicSearch<T>::sample(Context& ctx, const Memory& now, View<const i32, 1> iteration) {
  if (now.white) {
    noise_->fill(ctx, now.keys, iteration, now.white);
    colour_noise<T>(ctx, now.white, now.filter, now.candidates);
  } else {
    noise_->fill(ctx, now.keys, iteration, now.candidates);
  }
  // noise becomes candidates in place
  sample_candidates<T>(ctx,
                       {.noise = now.candidates,
                        .mean = now.mean,
                        .std = now.std,
                        .low = now.low,
                        .high = now.high,
                        .kept = returning() > 0 ? View<const T, 4>(now.kept) : View<const T, 4>(),
                        .iteration = iteration},
                       now.candidates);
}

template <typename T>
void BasicSearch<T>::iterate_while_wanted(Context& ctx, BasicDynamics<T>& dynamics, i64 first,
                                          i64 group) {
  if (watched()) look(ctx);
  for (i64 iteration = 0; iteration < settings_.iterations; ++iteration) {
    if (watched()) std::copy_n(seen_.mean.data(), last_mean_.numel(), last_mean_.data());
    iterate(ctx, dynamics, first, group);
    if (watched()) {
      look(ctx);
      watch(first, iteration, group);
    }
    if (clock_ != nullptr) {
      ctx.synchronize();
      if (!another_fits(budget_ns_, (*clock_)() - began_ns_, iteration + 1)) break;
    }
    if (settings_.enough_std > 0 || limited_) {
      i32 wanted = 0;
      ctx.download(&wanted, keep_going(), sizeof wanted);
      if (wanted == 0) break;
    }
  }
}

template <typename T>
void BasicSearch<T>::finish(Context& ctx) {
  ctx.download(staging_.progress.data(), memory_.progress.data(),
               bytes_between(staging_.progress, staging_.kept));
}

template <typename T>
void BasicSearch<T>::hand_over(const BasicPlanResult<T>& result, i64 first, i64 group) const {
  const i64 width = sizes_.horizon * sizes_.action_dim;
  for (i64 e = 0; e < group; ++e) {
    T cost = 0;
    const T* plan = answer(staging_, e, cost);
    const View<const T, 2> actions(plan, {sizes_.horizon, sizes_.action_dim});
    if (result.cost) result.cost[first + e] = cost;
    for (i64 i = 0; i < width; ++i) {
      const i64 t = i / sizes_.action_dim;
      const i64 d = i % sizes_.action_dim;
      result.actions(first + e, t, d) = actions(t, d);
      if (result.std) result.std(first + e, t, d) = staging_.std(e, t, d);
    }
  }
}

template <typename T>
const T* BasicSearch<T>::answer(const Memory& memory, i64 e, T& cost) const {
  cost = memory.cost[e];
  return memory.mean[e].data();
}

template <typename T>
void BasicSearch<T>::look(Context& ctx) {
  if (device_ == Device::cpu) return;
  if (seen_block_.bytes() == 0) {
    seen_block_ = Block(block_.bytes());
    Arena arena(seen_block_);
    seen_ = lay_out(arena, false);
  }
  ctx.download(seen_block_.data(), block_.data(), block_.bytes());
}

template <typename T>
void BasicSearch<T>::watch(i64 first, i64 iteration, i64 group) {
  const Memory seen = of_group(seen_, group);
  const i64 width = sizes_.horizon * sizes_.action_dim;
  for (i64 e = 0; e < group; ++e) {
    const T* costs = seen.costs[e].data();
    const i32* order = seen.order[e].data();
    double sum = 0;
    T best = std::numeric_limits<T>::quiet_NaN();
    for (i64 s = 0; s < settings_.samples; ++s) {
      sum += static_cast<double>(costs[s]);
      if (std::isnan(best) || costs[s] < best) best = costs[s];
    }

    double shift = 0;
    double std_sum = 0;
    for (i64 i = e * width; i < (e + 1) * width; ++i) {
      const double step =
          static_cast<double>(seen.mean.data()[i]) - static_cast<double>(last_mean_.data()[i]);
      shift += step * step;
      std_sum += static_cast<double>(seen.std.data()[i]);
    }

    // two passes, as the elites' own fit
    const T* candidates = seen.candidates[e].data();
    const i64 elites = usable_elites(costs, order, settings_.elites, settings_.nan);
    double elite_std = 0;
    for (i64 i = 0; i < width; ++i) {
      double total = 0, squares = 0;
      for (i64 k = 0; k < elites; ++k)
        total += static_cast<double>(candidates[order[k] * width + i]);
      const double mean = total / static_cast<double>(elites);
      for (i64 k = 0; k < elites; ++k) {
        const double away = static_cast<double>(candidates[order[k] * width + i]) - mean;
        squares += away * away;
      }
      elite_std += std::sqrt(squares / static_cast<double>(elites - 1));
    }

    // the elites are sorted, NaN last or first, so the ends tell everything; a NaN among them makes
    // all three NaN
    constexpr T kNone = std::numeric_limits<T>::quiet_NaN();
    T lowest = elites > 0 ? costs[order[0]] : kNone;
    T highest = elites > 0 ? costs[order[elites - 1]] : kNone;
    if (std::isnan(lowest) || std::isnan(highest)) lowest = highest = kNone;
    figures_[e] = {.best_cost = best,
                   .mean_cost = static_cast<T>(sum / static_cast<double>(settings_.samples)),
                   .elite_mean = seen.cost[e],
                   .elite_min = lowest,
                   .elite_max = highest,
                   .elite_spread = static_cast<T>(elite_std / static_cast<double>(width)),
                   .mean_shift = static_cast<T>(std::sqrt(shift)),
                   .std_mean = static_cast<T>(std_sum / static_cast<double>(width))};
    if (this->traces_ != nullptr) {
      append(figures_[e], (*this->traces_)[static_cast<std::size_t>(first + e)]);
    }
  }
  if (!observer_) return;
  observer_({first, iteration, seen.candidates, seen.costs,
             seen.order.slice(1, 0, settings_.elites), seen.weights, seen.mean, seen.std,
             first_of(figures_, group)});
}

template class BasicSearch<float>;
template class BasicSearch<double>;

}  // namespace orrery
