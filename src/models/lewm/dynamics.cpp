#include "models/lewm/dynamics.h"

#include <cstring>

#include "base/error.h"
#include "ops/elementwise.h"

namespace orrery::lewm {

namespace {

template <int Rank>
void copy(View<const float, Rank> from, View<float, Rank> to) {
  ORRERY_ASSERT(from.contiguous() && to.contiguous() && from.numel() == to.numel());
  std::memcpy(to.data(), from.data(), static_cast<std::size_t>(from.numel()) * sizeof(float));
}

}  // namespace

GoalDynamics::GoalDynamics(Context& ctx, const Model& model, Sizes sizes, Objective objective)
    : model_(&model),
      sizes_(sizes),
      objective_(objective),
      rollout_(make_rollout_state(ctx, model,
                                  {.samples = sizes.samples,
                                   .history = sizes.history,
                                   .blocks = sizes.history - 1 + sizes.horizon})) {
  check(sizes.environments >= 1, "planning: room for ", sizes.environments,
        " environments was asked for, at least one is needed");
  const i64 dim = model.config().latent();
  const auto lay_out = [&](Arena& arena) {
    contexts_ = arena.take<float, 3>({sizes.environments, sizes.history, dim});
    prefixes_ = arena.take<float, 3>({sizes.environments, sizes.history - 1, action_dim()});
    goals_ = arena.take<float, 2>({sizes.environments, dim});
    last_ = arena.take<float, 2>({sizes.samples, dim});
  };
  Arena measure;
  lay_out(measure);
  memory_ = Block(measure.used());
  Arena arena(memory_);
  lay_out(arena);
}

void GoalDynamics::begin(i64 environments) {
  check(environments >= 1 && environments <= sizes_.environments, "planning: ", environments,
        " environments, the dynamics was made for 1 to ", sizes_.environments);
  environments_ = environments;
}

void GoalDynamics::observe(i64 environment, View<const float, 2> context,
                           View<const float, 2> prefix, View<const float, 1> goal) {
  const i64 dim = model_->config().latent();
  check(environment >= 0 && environment < environments_, "planning: environment ", environment,
        " of ", environments_);
  check(context.size(0) == sizes_.history && context.size(1) == dim, "planning: context is ",
        context.shape(), ", needed (", sizes_.history, ", ", dim, ")");
  check(goal.size(0) == dim, "planning: the goal has ", goal.size(0),
        " numbers, the model's latents ", dim);
  copy(context, contexts_[environment]);
  copy(goal, goals_[environment]);
  if (sizes_.history > 1) {
    check(prefix && prefix.size(0) == sizes_.history - 1 && prefix.size(1) == action_dim(),
          "planning: ", sizes_.history, " context frames need the ", sizes_.history - 1,
          " blocks of actions between them");
    copy(prefix, prefixes_[environment]);
  }
}

View<const float, 2> GoalDynamics::context_of(i64 environment) const {
  return contexts_[environment];
}

View<const float, 2> GoalDynamics::prefix_of(i64 environment) const {
  return sizes_.history > 1 ? View<const float, 2>(prefixes_[environment]) : View<const float, 2>();
}

void GoalDynamics::rollout_cost(Context& ctx, i64 first_environment, View<const float, 4> actions,
                                View<float, 2> cost) {
  const i64 samples = actions.size(1);
  const i64 dim = model_->config().latent();
  const float factor =
      objective_.reduction == Objective::Reduction::sum ? 1.0f : 1.0f / static_cast<float>(dim);
  const auto last = last_.slice(0, 0, samples);
  for (i64 e = 0; e < actions.size(0); ++e) {
    const i64 environment = first_environment + e;
    rollout(ctx, *model_, rollout_, context_of(environment), prefix_of(environment), actions[e], {},
            last);
    const View<const float, 2> goal(&goals_(environment, 0), {samples, dim}, {0, 1});
    squared_distances(ctx, last, goal, factor, cost[e]);
  }
}

void GoalDynamics::imagine(Context& ctx, i64 environment, View<const float, 2> plan,
                           View<float, 2> latents) {
  const View<const float, 3> actions(plan.data(), {1, plan.size(0), plan.size(1)});
  const View<float, 3> into(latents.data(), {1, latents.size(0), latents.size(1)});
  rollout(ctx, *model_, rollout_, context_of(environment), prefix_of(environment), actions, into,
          {});
}

}  // namespace orrery::lewm
