#include "plan/policy.h"

#include <algorithm>
#include <limits>

namespace orrery {

namespace {

// a size of `blocks` blocks of the planner's width, copied from one view to another of the same
// shape
void copy_blocks(View<const float, 2> from, View<float, 2> to) {
  for (i64 t = 0; t < to.size(0); ++t) {
    for (i64 d = 0; d < to.size(1); ++d) to(t, d) = from(t, d);
  }
}

void clear(View<float, 2> view) {
  for (i64 t = 0; t < view.size(0); ++t) {
    for (i64 d = 0; d < view.size(1); ++d) view(t, d) = 0.0f;
  }
}

}  // namespace

RecedingHorizonPolicy::RecedingHorizonPolicy(const PlanConfig& config, i64 environments,
                                             i64 raw_action_dim, const ActionScale& scale,
                                             Planner& planner)
    : config_(config),
      raw_dim_(raw_action_dim),
      mean_(scale.mean.begin(), scale.mean.end()),
      std_(scale.std.begin(), scale.std.end()),
      planner_(&planner) {
  check(environments >= 1 && raw_action_dim >= 1, "policy: ", environments, " environments with ",
        raw_action_dim, " action numbers, at least one of each is needed");
  check(config.action_block >= 1, "policy: action block is ", config.action_block,
        ", at least one step is needed");
  check(config.receding_horizon >= 1 && config.receding_horizon <= config.horizon,
        "policy: receding horizon is ", config.receding_horizon, ", 1 to the horizon of ",
        config.horizon, " was needed");
  check(config.history_len >= 1, "policy: history length is ", config.history_len,
        ", at least the present frame is needed");
  check(planner.horizon() == config.horizon, "policy: planner looks ", planner.horizon(),
        " blocks ahead, the policy ", config.horizon);
  check(planner.action_dim() == raw_action_dim * config.action_block, "policy: planner plans ",
        planner.action_dim(), " numbers a block, ", config.action_block, " actions of ",
        raw_action_dim, " were needed");
  check(planner.max_environments() >= environments, "policy: planner was made for ",
        planner.max_environments(), " environments, there are ", environments);
  const auto fits = [&](const std::vector<float>& values) {
    return values.empty() || static_cast<i64>(values.size()) == raw_action_dim;
  };
  check(fits(mean_) && fits(std_) && mean_.empty() == std_.empty(), "policy: action scale has ",
        mean_.size(), " means and ", std_.size(), " stds, actions have ", raw_action_dim,
        " numbers");

  progress_.resize(static_cast<std::size_t>(environments));
  who_.resize(progress_.size());
  keys_.resize(progress_.size());
  Arena measure;
  lay_out(measure);
  memory_ = Block(measure.used());
  Arena arena(memory_);
  lay_out(arena);
}

void RecedingHorizonPolicy::lay_out(Arena& arena) {
  const i64 environments = static_cast<i64>(progress_.size());
  const i64 width = config_.action_block * raw_dim_;
  const i64 rest = config_.horizon - config_.receding_horizon;
  plans_ = arena.take<float, 3>({environments, config_.horizon, width});
  costs_ = arena.take<float, 1>({environments});
  warm_ = arena.take<float, 3>({environments, rest, width});
  warm_of_who_ = arena.take<float, 3>({environments, rest, width});
  plans_of_who_ = arena.take<float, 3>({environments, config_.horizon, width});
  costs_of_who_ = arena.take<float, 1>({environments});
  past_ = arena.take<float, 3>(
      {environments, (config_.history_len - 1) * config_.action_block, raw_dim_});
}

i64 RecedingHorizonPolicy::act(Context& ctx, Observe observe, View<float, 2> actions) {
  const i64 environments = static_cast<i64>(progress_.size());
  check(actions.size(0) == environments && actions.size(1) == raw_dim_,
        "policy: actions to fill are ", actions.shape(), ", ", Shape{environments, raw_dim_},
        " was needed");

  i64 count = 0;
  for (i64 e = 0; e < environments; ++e) {
    if (!at(e).finished && at(e).left == 0) who_[static_cast<std::size_t>(count++)] = e;
  }
  if (count > 0) replan(ctx, observe, count);

  for (i64 e = 0; e < environments; ++e) {
    Progress& now = at(e);
    if (now.finished) {
      for (i64 d = 0; d < raw_dim_; ++d) actions(e, d) = std::numeric_limits<float>::quiet_NaN();
      continue;
    }
    // a plan is its raw actions in order: block after block, step after step
    const View<const float, 1> action(plans_[e].data() + now.next * raw_dim_, {raw_dim_});
    for (i64 d = 0; d < raw_dim_; ++d) {
      const auto i = static_cast<std::size_t>(d);
      actions(e, d) = mean_.empty() ? action[d] : action[d] * std_[i] + mean_[i];
    }
    remember(e, action);
    ++now.next;
    --now.left;
  }
  return count;
}

void RecedingHorizonPolicy::replan(Context& ctx, Observe observe, i64 count) {
  const std::span<const i64> who(who_.data(), static_cast<std::size_t>(count));
  Dynamics& dynamics = observe(who);
  check(dynamics.environments() == count, "policy: ", count,
        " environments need a plan, the dynamics has ", dynamics.environments());

  // nothing is known before the first plan; a flushed environment starts from zeros
  const i64 rest = warm_.size(1);
  PlanRequest request;
  if (config_.warm_start && any_plan_ && rest > 0) {
    for (i64 i = 0; i < count; ++i)
      copy_blocks(warm_[who[static_cast<std::size_t>(i)]], warm_of_who_[i]);
    request.warm_start = warm_of_who_.slice(0, 0, count);
  }
  for (i64 i = 0; i < count; ++i) {
    const i64 e = who[static_cast<std::size_t>(i)];
    keys_[static_cast<std::size_t>(i)] = {.environment = e, .plan = at(e).plans};
  }
  request.keys = {keys_.data(), static_cast<std::size_t>(count)};

  planner_->plan(ctx, dynamics, request,
                 {.actions = plans_of_who_.slice(0, 0, count),
                  .cost = costs_of_who_.slice(0, 0, count),
                  .std = {}});
  any_plan_ = true;

  for (i64 i = 0; i < count; ++i) {
    const i64 e = who[static_cast<std::size_t>(i)];
    copy_blocks(plans_of_who_[i], plans_[e]);
    copy_blocks(plans_[e].slice(0, config_.receding_horizon, config_.horizon), warm_[e]);
    costs_[e] = costs_of_who_[i];
    at(e).next = 0;
    at(e).left = config_.receding_horizon * config_.action_block;
    ++at(e).plans;
  }
}

void RecedingHorizonPolicy::remember(i64 environment, View<const float, 1> action) {
  const auto past = past_[environment];
  Progress& now = at(environment);
  if (past.size(0) == 0) return;
  if (now.past == past.size(0)) {
    copy_blocks(past.slice(0, 1, now.past), past.slice(0, 0, now.past - 1));
    --now.past;
  }
  for (i64 d = 0; d < raw_dim_; ++d) past(now.past, d) = action[d];
  ++now.past;
}

void RecedingHorizonPolicy::finish(i64 environment) { at(environment).finished = true; }

void RecedingHorizonPolicy::flush(i64 environment) {
  Progress& now = at(environment);
  now.left = 0;
  now.past = 0;
  now.finished = false;
  clear(warm_[environment]);
}

View<const float, 2> RecedingHorizonPolicy::last_plan(i64 environment) const {
  at(environment);
  return plans_[environment];
}

float RecedingHorizonPolicy::last_cost(i64 environment) const {
  at(environment);
  return costs_[environment];
}

i64 RecedingHorizonPolicy::plans_made(i64 environment) const { return at(environment).plans; }

View<const float, 2> RecedingHorizonPolicy::past_actions(i64 environment) const {
  return past_[environment].slice(0, 0, at(environment).past);
}

RecedingHorizonPolicy::Progress& RecedingHorizonPolicy::at(i64 environment) {
  check(environment >= 0 && environment < static_cast<i64>(progress_.size()),
        "policy: environment ", environment, " of ", progress_.size());
  return progress_[static_cast<std::size_t>(environment)];
}

const RecedingHorizonPolicy::Progress& RecedingHorizonPolicy::at(i64 environment) const {
  return const_cast<RecedingHorizonPolicy*>(this)->at(environment);
}

}  // namespace orrery
