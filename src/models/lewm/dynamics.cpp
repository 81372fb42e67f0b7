#include "models/lewm/dynamics.h"

#include "base/error.h"
#include "ops/strided.h"

namespace orrery::lewm {

namespace {

// rows of one environment
View<const float, 3> as_block(View<const float, 2> rows) {
  return View<const float, 3>(rows.data(), {1, rows.size(0), rows.size(1)},
                              {0, rows.stride(0), rows.stride(1)});
}

}  // namespace

GoalDynamics::GoalDynamics(Context& ctx, const Model& model, Sizes sizes, Objective objective,
                           std::vector<Constraint> constraints)
    : ctx_(&ctx),
      model_(&model),
      sizes_(sizes),
      objective_(std::move(objective)),
      constraints_(std::move(constraints)),
      rollout_(make_rollout_state(ctx, model,
                                  {.samples = sizes.samples,
                                   .history = sizes.history,
                                   .blocks = sizes.history - 1 + sizes.horizon,
                                   .environments = sizes.environments})) {
  check_objective(objective_, model.config().latent());
  check_constraints(constraints_);
  if (sizes.gradients) {
    gradient_.emplace(ctx, model,
                      RolloutSizes{.samples = sizes.samples,
                                   .history = sizes.history,
                                   .blocks = sizes.history - 1 + sizes.horizon,
                                   .environments = sizes.environments});
  }
  Arena measure;
  lay_out(measure);
  memory_ = Block(ctx, measure.used());
  Arena arena(memory_);
  lay_out(arena);
}

void GoalDynamics::lay_out(Arena& arena) {
  const i64 dim = model_->config().latent();
  contexts_ = arena.take<float, 3>({sizes_.environments, sizes_.history, dim});
  prefixes_ = arena.take<float, 3>({sizes_.environments, sizes_.history - 1, action_dim()});
  goals_ = arena.take<float, 2>({sizes_.environments, dim});
  last_ = arena.take<float, 3>({sizes_.environments, sizes_.samples, dim});
  plan_ = arena.take<float, 2>({sizes_.horizon, action_dim()});
  imagined_ = arena.take<float, 2>({sizes_.history + sizes_.horizon, dim});
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
  copy(*ctx_, as_block(context), contexts_.slice(0, environment, environment + 1));
  copy(*ctx_, View<const float, 3>(goal.data(), {1, 1, dim}, {0, 0, goal.stride(0)}),
       View<float, 3>(goals_[environment].data(), {1, 1, dim}));
  if (sizes_.history > 1) {
    check(prefix && prefix.size(0) == sizes_.history - 1 && prefix.size(1) == action_dim(),
          "planning: ", sizes_.history, " context frames need the ", sizes_.history - 1,
          " blocks of actions between them");
    copy(*ctx_, as_block(prefix), prefixes_.slice(0, environment, environment + 1));
  }
}

void GoalDynamics::check_candidates(i64 first_environment, View<const float, 4> actions) const {
  const i64 group = actions.size(0), samples = actions.size(1);
  check(first_environment >= 0 && first_environment + group <= environments_ &&
            samples <= sizes_.samples,
        "planning: candidates of environments ", first_environment, " to ",
        first_environment + group - 1, ", ", samples, " each; ", environments_,
        " environments were observed, ", sizes_.samples, " candidates each were planned for");
}

RolloutInput GoalDynamics::input_of(i64 first_environment, View<const float, 4> actions) const {
  const i64 end = first_environment + actions.size(0);
  return {.context = contexts_.slice(0, first_environment, end),
          .prefix = sizes_.history > 1 ? prefixes_.slice(0, first_environment, end)
                                       : View<const float, 3>(),
          .actions = actions};
}

Outcomes GoalDynamics::outcomes_of(Context& ctx, i64 first_environment,
                                   View<const float, 4> actions) {
  check_candidates(first_environment, actions);
  const i64 group = actions.size(0), dim = model_->config().latent();
  const View<float, 3> last(last_.data(), {group, actions.size(1), dim});
  rollout(ctx, *model_, rollout_, input_of(first_environment, actions), {.last = last});
  return {last, goals_.slice(0, first_environment, first_environment + group), actions};
}

void GoalDynamics::rollout_cost(Context& ctx, i64 first_environment, View<const float, 4> actions,
                                View<float, 2> cost) {
  objective_cost(ctx, objective_, outcomes_of(ctx, first_environment, actions), cost);
}

void GoalDynamics::constrain(Context& ctx, i64 first_environment, View<const float, 4> actions,
                             View<float, 3> values) {
  constraint_values(ctx, constraints_, outcomes_of(ctx, first_environment, actions), values);
}

void GoalDynamics::rollout_cost_gradient(Context& ctx, i64 first_environment,
                                         View<const float, 4> actions, View<const float, 3> weights,
                                         View<float, 2> cost, View<float, 4> gradient) {
  check(gradient_.has_value(), "planning: the dynamics was made without gradients");
  check_candidates(first_environment, actions);
  const i64 samples = actions.size(1), blocks = actions.size(2), width = actions.size(3);
  gradient_->add(
      ctx, input_of(first_environment, actions),
      [&](const RolloutPiece& piece, View<const float, 3> last, View<float, 3> slopes) {
        // a piece's candidates follow each other
        const i64 first = piece.first_environment * samples + piece.first_sample;
        const auto of_piece = [&](auto* values, i64 numbers) { return values + first * numbers; };
        const View<float, 4>::Sizes plans = {piece.environments, piece.samples, blocks, width};
        const i64 from = first_environment + piece.first_environment;
        const Outcomes outcomes = {
            last, goals_.slice(0, from, from + piece.environments),
            View<const float, 4>(of_piece(actions.data(), blocks * width), plans)};
        const Slopes by = {slopes,
                           View<float, 4>(of_piece(gradient.data(), blocks * width), plans)};
        objective_cost(
            ctx, objective_, outcomes,
            View<float, 2>(of_piece(cost.data(), 1), {piece.environments, piece.samples}));
        objective_slopes(ctx, objective_, outcomes, by);
        if (!weights) return;
        add_constraint_slopes(
            ctx, constraints_, outcomes,
            View<const float, 3>(of_piece(weights.data(), constraints()),
                                 {piece.environments, piece.samples, constraints()}),
            by);
      },
      gradient);
}

void GoalDynamics::imagine(Context& ctx, i64 environment, View<const float, 2> plan,
                           View<float, 2> latents) {
  check(environment >= 0 && environment < environments_, "planning: environment ", environment,
        " of ", environments_);
  check(plan.shape() == plan_.shape() && latents.shape() == imagined_.shape() &&
            plan.contiguous() && latents.contiguous(),
        "planning: a plan to imagine is ", plan.shape(), ", its latents ", latents.shape(),
        "; contiguous ", plan_.shape(), " and ", imagined_.shape(), " were needed");
  const auto bytes = [](auto view) {
    return static_cast<std::size_t>(view.numel()) * sizeof(float);
  };
  const i64 steps = plan_.size(0), width = plan_.size(1);
  const i64 frames = imagined_.size(0), dim = imagined_.size(1);
  ctx.upload(plan_.data(), plan.data(), bytes(plan_));
  rollout(ctx, *model_, rollout_,
          {.context = contexts_.slice(0, environment, environment + 1),
           .prefix = sizes_.history > 1 ? prefixes_.slice(0, environment, environment + 1)
                                        : View<const float, 3>(),
           .actions = View<const float, 4>(plan_.data(), {1, 1, steps, width})},
          {.latents = View<float, 4>(imagined_.data(), {1, 1, frames, dim})});
  ctx.download(latents.data(), imagined_.data(), bytes(imagined_));
}

}  // namespace orrery::lewm
