#include "plan/descent.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/clock.h"
#include "ops/elementwise.h"
#include "plan/progress.h"

namespace orrery {

namespace {

constexpr float kNone = std::numeric_limits<float>::quiet_NaN();

// `a` is a cost and the lower one
bool cheaper(float a, float b) { return a < b || (std::isnan(b) && !std::isnan(a)); }

double length(const float* values, i64 count) {
  double sum = 0;
  for (i64 i = 0; i < count; ++i) {
    sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  return std::sqrt(sum);
}

}  // namespace

Descent::Descent(const char* name, const DescentConfig& config, const PlanSizes& sizes,
                 Noise& noise)
    : name_(name),
      config_(config),
      sizes_(sizes),
      noise_(&noise),
      optimiser_(name, config.optimiser) {
  const auto from_zero = [&](const char* what, double value) {
    check(std::isfinite(value) && value >= 0, name, ": ", what, " is ", value,
          ", a finite number from 0 up was needed");
  };
  check(sizes.environments >= 1 && sizes.horizon >= 1 && sizes.action_dim >= 1, name, ": ",
        sizes.environments, " environments, horizon ", sizes.horizon, ", action width ",
        sizes.action_dim, "; at least one of each is needed");
  check(config.samples >= 1, name, ": ", config.samples, " samples, at least one is needed");
  check(config.steps >= 1, name, ": ", config.steps, " steps, at least one is needed");
  check(config.batch_size >= 0, name, ": batch size is ", config.batch_size,
        ", from 0 (all) up was needed");
  from_zero("initial std", config.initial_std);
  from_zero("action noise", config.action_noise);
  from_zero("the longest gradient", config.grad_clip);

  group_ =
      config.batch_size == 0 ? sizes.environments : std::min(config.batch_size, sizes.environments);
  Arena measure;
  lay_out(measure);
  memory_ = Block(measure.used());
  Arena arena(memory_);
  lay_out(arena);
}

void Descent::lay_out(Arena& arena) {
  const i64 all = sizes_.environments, samples = config_.samples;
  const i64 horizon = sizes_.horizon, dim = sizes_.action_dim;
  keys_ = arena.take<PlanKey, 1>({all});
  iteration_ = arena.take<i32, 1>({1});
  start_ = arena.take<float, 3>({all, horizon, dim});
  actions_ = arena.take<float, 4>({all, samples, horizon, dim});
  gradient_ = arena.take<float, 4>({group_, samples, horizon, dim});
  // the starts' draws are of all environments, action noise of one group
  const i64 draws = std::max(all * (samples - 1), config_.action_noise > 0 ? group_ * samples : 0);
  draws_ = arena.take<float, 1>({draws * horizon * dim});
  costs_ = arena.take<float, 2>({group_, samples});
  violation_ = arena.take<float, 2>({group_, samples});
  best_ = arena.take<float, 3>({group_, horizon, dim});
  best_cost_ = arena.take<float, 1>({group_});
  best_violation_ = arena.take<float, 1>({group_});
  figures_ = arena.take<DescentFigures, 1>({group_});
  optimiser_.lay_out(arena, gradient_.numel());
}

void Descent::begin_plan(const DifferentiableDynamics&, const PlanRequest&) {}
void Descent::begin_group(const Group&) {}
Descent::Penalty Descent::weigh(Context&, const Group&) { return {}; }
void Descent::end_round(Context&, const Group&) {}
void Descent::end_group(const Group&) {}
void Descent::settle(View<float, 2>) {}
void Descent::finish_answer(View<float, 2>) {}

void Descent::plan(Context& ctx, Dynamics& dynamics, const PlanRequest& request,
                   const PlanResult& result) {
  check_plan(name_, sizes_, dynamics, request, result);
  check(ctx.device() == Device::cpu, name_, ": planners by gradients work on the CPU, ",
        orrery::name_of(ctx.device()), " was given");
  auto* differentiable = dynamic_cast<DifferentiableDynamics*>(&dynamics);
  check(differentiable != nullptr, name_,
        ": the dynamics tells costs only, one that tells gradients was needed");
  check(std::isfinite(request.budget_ms) && request.budget_ms >= 0, name_, ": a budget of ",
        request.budget_ms, " ms, a finite number from 0 up was needed");
  if (traces_ != nullptr) {
    traces_->assign(static_cast<std::size_t>(dynamics.environments()), PlanTrace());
  }
  begin_plan(*differentiable, request);
  start(ctx, dynamics, request);
  for (i64 first = 0; first < planned_; first += group_) {
    const Group group = group_of(*differentiable, first, std::min(group_, planned_ - first));
    const bool by_best = descend(ctx, group, request);
    hand_over(group, by_best, result);
    end_group(group);
  }
}

Descent::Group Descent::group_of(DifferentiableDynamics& dynamics, i64 first, i64 count) const {
  return {dynamics, first, actions_.slice(0, first, first + count), costs_.slice(0, 0, count),
          violation_.slice(0, 0, count)};
}

// all environments' samples where they begin
void Descent::start(Context& ctx, Dynamics& dynamics, const PlanRequest& request) {
  planned_ = dynamics.environments();
  const auto& warm = request.warm_start;
  const i64 given = warm ? warm.size(1) : 0;
  const i64 horizon = sizes_.horizon, dim = sizes_.action_dim, samples = config_.samples;
  const View<float, 3> starts = start_.slice(0, 0, planned_);
  for (i64 e = 0; e < planned_; ++e) {
    keys_[e] = request.keys.empty() ? PlanKey{e, 0} : request.keys[static_cast<std::size_t>(e)];
    for (i64 t = 0; t < horizon; ++t) {
      for (i64 d = 0; d < dim; ++d) starts(e, t, d) = t < given ? warm(e, t, d) : 0.0f;
    }
  }
  if (given < horizon) {
    dynamics.propose(ctx, 0, starts.slice(1, 0, given), starts.slice(1, given, horizon));
  }
  for (i64 e = 0; e < planned_; ++e) {
    for (i64 s = 0; s < samples; ++s) {
      std::copy_n(starts[e].data(), horizon * dim, &actions_(e, s, 0, 0));
    }
  }
  if (samples > 1) {
    add_noise(ctx, 0, 0, static_cast<float>(config_.initial_std),
              actions_.slice(0, 0, planned_).slice(1, 1, samples));
  }
}

// to += factor * eps; the rows of `to` belong to environments from `first` on
void Descent::add_noise(Context& ctx, i64 iteration, i64 first, float factor, View<float, 4> to) {
  iteration_[0] = static_cast<i32>(iteration);
  const View<float, 4> draws(draws_.data(), to.sizes());
  noise_->fill(ctx, keys_.slice(0, first, first + to.size(0)), iteration_, draws);
  for (i64 e = 0; e < to.size(0); ++e) {
    add_scaled(ctx, factor, draws[e].flat(), to[e].flat());
  }
}

// Takes a group down; true when the answer is the best that was seen.
bool Descent::descend(Context& ctx, const Group& group, const PlanRequest& request) {
  const i64 count = group.size(), steps = config_.steps * rounds();
  const View<float, 4> gradient = gradient_.slice(0, 0, count);
  std::fill_n(violation_.data(), violation_.numel(), 0.0f);
  for (i64 e = 0; e < count; ++e) {
    best_cost_[e] = best_violation_[e] = kNone;
    std::copy_n(start_[group.first + e].data(), best_[e].numel(), best_[e].data());
  }
  begin_group(group);

  const auto now_ns = [&] {
    return request.clock != nullptr ? (*request.clock)() : static_cast<u64>(now_s() * 1e9);
  };
  const bool limited = request.budget_ms > 0;
  const u64 began = limited ? now_ns() : 0;
  // 0 means no limit, so a budget is one nanosecond at least
  const u64 budget = limited ? std::max<u64>(1, static_cast<u64>(request.budget_ms * 1e6)) : 0;
  // whether another step, or an evaluation, which is no longer, would end too late
  const auto late = [&](i64 done) {
    return limited && done > 0 && !another_fits(budget, now_ns() - began, done);
  };
  for (i64 step = 0; step < steps; ++step) {
    if (late(step)) return true;
    // a round has its own loss, so old moments would mislead
    if (step % config_.steps == 0) optimiser_.begin();

    const Penalty penalty = weigh(ctx, group);
    group.dynamics.rollout_cost_gradient(ctx, group.first, group.actions, penalty.weights,
                                         group.costs, gradient);
    remember_best(group);
    mend(group.costs, gradient);
    if (observer_ || traces_ != nullptr) watch(group, step, gradient, penalty);

    if (config_.grad_clip > 0) clip(ctx, gradient.flat());
    optimiser_.step(ctx, gradient.flat(), group.actions.flat());
    if (config_.action_noise > 0) {
      add_noise(ctx, step + 1, group.first, static_cast<float>(config_.action_noise),
                group.actions);
    }
    settle(group.actions.as_rows());
    if ((step + 1) % config_.steps == 0) end_round(ctx, group);
  }

  if (config_.answer == DescentAnswer::last_step_cost) return false;
  if (late(steps)) return true;
  weigh(ctx, group);
  group.dynamics.rollout_cost(ctx, group.first, group.actions, group.costs);
  remember_best(group);
  return config_.answer == DescentAnswer::best;
}

// gradients of candidates that cannot be judged become 0
void Descent::mend(View<const float, 2> costs, View<float, 4> gradient) const {
  for (i64 e = 0; e < costs.size(0); ++e) {
    for (i64 s = 0; s < costs.size(1); ++s) {
      const View<float, 2> one = gradient[e][s];
      float* g = one.data();
      const bool usable =
          std::isfinite(costs(e, s)) &&
          std::all_of(g, g + one.numel(), [](float value) { return std::isfinite(value); });
      if (!usable) std::fill_n(g, one.numel(), 0.0f);
    }
  }
}

// as PyTorch does: by the length of all numbers together, 1e-6 longer than it is
void Descent::clip(Context& ctx, View<float, 1> gradient) const {
  const double factor = config_.grad_clip / (std::sqrt(sum_of_squares(ctx, gradient)) + 1e-6);
  if (factor < 1) scale(ctx, static_cast<float>(factor), gradient);
}

void Descent::remember_best(const Group& group) {
  for (i64 e = 0; e < group.size(); ++e) {
    for (i64 s = 0; s < config_.samples; ++s) {
      const float cost = group.costs(e, s), violation = group.violation(e, s);
      if (std::isnan(cost) || std::isnan(violation)) continue;
      const bool first = std::isnan(best_cost_[e]);
      const bool equal = violation == best_violation_[e];
      if (!first && !(equal ? cost < best_cost_[e] : violation < best_violation_[e])) continue;
      best_cost_[e] = cost;
      best_violation_[e] = violation;
      std::copy_n(&group.actions(e, s, 0, 0), best_[e].numel(), best_[e].data());
    }
  }
}

void Descent::watch(const Group& group, i64 step, View<const float, 4> gradient,
                    const Penalty& penalty) {
  const i64 samples = config_.samples, width = sizes_.horizon * sizes_.action_dim;
  const auto count = static_cast<double>(samples);
  double loss = penalty.loss;
  for (i64 e = 0; e < group.size(); ++e) {
    float best = kNone;
    double sum = 0, slope = 0, reach = 0;
    for (i64 s = 0; s < samples; ++s) {
      if (cheaper(group.costs(e, s), best)) best = group.costs(e, s);
      sum += static_cast<double>(group.costs(e, s));
      slope += length(&gradient(e, s, 0, 0), width);
      reach += length(&group.actions(e, s, 0, 0), width);
    }
    loss += sum;
    figures_[e] = {best, static_cast<float>(sum / count), static_cast<float>(slope / count),
                   static_cast<float>(reach / count)};
  }
  for (i64 e = 0; traces_ != nullptr && e < group.size(); ++e) {
    PlanTrace& trace = (*traces_)[static_cast<std::size_t>(group.first + e)];
    trace.best_cost.push_back(static_cast<double>(figures_[e].best_cost));
    trace.mean_cost.push_back(static_cast<double>(figures_[e].mean_cost));
    trace.gradient_norm.push_back(static_cast<double>(figures_[e].gradient_norm));
    trace.action_norm.push_back(static_cast<double>(figures_[e].action_norm));
  }
  if (!observer_) return;
  observer_({group.first, step, group.actions, group.costs, gradient, penalty.values, loss,
             figures_.slice(0, 0, group.size())});
}

void Descent::hand_over(const Group& group, bool by_best, const PlanResult& result) {
  for (i64 e = 0; e < group.size(); ++e) {
    i64 chosen = 0;
    for (i64 s = 1; s < config_.samples; ++s) {
      if (cheaper(group.costs(e, s), group.costs(e, chosen))) chosen = s;
    }
    float cost = group.costs(e, chosen);
    if (by_best || std::isnan(cost)) {
      cost = best_cost_[e];
    } else {
      std::copy_n(&group.actions(e, chosen, 0, 0), best_[e].numel(), best_[e].data());
    }
    finish_answer(best_[e]);
    const i64 to = group.first + e;
    if (result.cost) result.cost[to] = cost;
    for (i64 t = 0; t < sizes_.horizon; ++t) {
      for (i64 d = 0; d < sizes_.action_dim; ++d) {
        result.actions(to, t, d) = best_(e, t, d);
        if (result.std) result.std(to, t, d) = 0.0f;
      }
    }
  }
}

}  // namespace orrery
