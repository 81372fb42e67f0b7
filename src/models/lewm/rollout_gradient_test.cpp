#include "models/lewm/rollout_gradient.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "models/lewm/dynamics.h"
#include "models/lewm/recipe.h"
#include "models/lewm/training_ref.h"
#include "plan/gradient.h"
#include "tests/allocations/counter.h"

namespace orrery::lewm {
namespace {

using reference::Matrix;

// widths that all differ, so that a mixed-up dimension cannot go unseen
Config small_config() {
  Config config;
  config.encoder = {.image_size = 28, .patch = 7, .hidden = 24, .layers = 1, .heads = 3, .mlp = 40};
  config.projector = {.input = 24, .hidden = 36, .output = 12};
  config.predictor = {.window = 3,
                      .input = 12,
                      .hidden = 16,
                      .output = 14,
                      .depth = 2,
                      .heads = 3,
                      .head_dim = 8,
                      .mlp = 20};
  config.pred_proj = {.input = 14, .hidden = 18, .output = 12};
  config.action = {.input = 4, .smoothed = 5, .output = 12, .mlp_scale = 2};
  return config;
}

struct Case {
  std::string name;
  Config config;
  i64 history = 1;
  i64 horizon = 5;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const i64 history : {1, 2, 3, 5}) {
    all.push_back({text("history ", history), small_config(), history, 5});
  }
  all.push_back({"one block", small_config(), 1, 1});

  // no projections: one width throughout, and attention without an output map
  Case equal = {"equal widths", small_config()};
  equal.config.projector.output = equal.config.pred_proj.output = 16;
  equal.config.pred_proj.input = equal.config.action.output = 16;
  equal.config.predictor.input = equal.config.predictor.output = 16;
  equal.config.predictor.heads = 1;
  equal.config.predictor.head_dim = 16;
  all.push_back(equal);

  Case layer_norm = {"layer norm and SiLU in the head", small_config()};
  layer_norm.config.pred_proj.norm = HeadConfig::Norm::layer;
  layer_norm.config.pred_proj.activation = Activation::silu;
  all.push_back(layer_norm);

  Case no_head = {"no head", small_config()};
  no_head.config.pred_proj.present = false;
  no_head.config.predictor.output = 12;
  all.push_back(no_head);

  Case long_window = {"a window longer than the plan", small_config(), 2, 3};
  long_window.config.predictor.window = 7;
  all.push_back(long_window);
  return all;
}

// The rollout in double, window after window: what differences are taken of.
class RolloutReference : public reference::Model {
 public:
  explicit RolloutReference(const Weights& weights)
      : reference::Model(weights.config), weights_(weights) {
    const auto values = weights.parameters.span<float>();
    parameters.assign(values.begin(), values.end());
  }

  // one candidate: context [H, D], actions of all blocks [blocks, A] -> the last prediction [1, D]
  Matrix last(Matrix latents, const Matrix& actions) const {
    const Matrix condition = action_encoder(actions);
    for (i64 newest = latents.rows - 1; newest < actions.rows; ++newest) {
      const i64 left = std::max<i64>(0, newest + 1 - config_.predictor.window);
      const Matrix pred = predict(rows(latents, left, newest + 1),
                                  rows(condition, left, newest + 1), 1, newest + 1 - left);
      const Matrix next = head(rows(pred, pred.rows - 1, pred.rows));
      latents.values.insert(latents.values.end(), next.values.begin(), next.values.end());
      ++latents.rows;
    }
    return rows(latents, latents.rows - 1, latents.rows);
  }

 private:
  static Matrix rows(const Matrix& x, i64 begin, i64 end) {
    Matrix y(end - begin, x.cols);
    std::copy_n(x.values.begin() + begin * x.cols, y.values.size(), y.values.begin());
    return y;
  }

  // pred_proj as it is used: BatchNorm by running statistics
  Matrix head(const Matrix& x) const {
    const HeadConfig& c = config_.pred_proj;
    if (c.norm != HeadConfig::Norm::batch || !c.present) {
      return reference::Model::head("pred_proj", c, x);
    }
    Matrix u = linear("pred_proj.net.0", x);
    const Head& h = weights_.tensors.pred_proj;
    for (i64 i = 0; i < u.cols; ++i) {
      u(0, i) = (u(0, i) - static_cast<double>(h.running_mean(i))) /
                std::sqrt(static_cast<double>(h.running_var(i)) + 1e-5);
    }
    return linear("pred_proj.net.3", activated(c.activation, affine("pred_proj.net.1", u)));
  }

  const Weights& weights_;
};

// Everything that a planning problem of a case is made of.
struct Problem {
  static constexpr i64 kEnvironments = 2;

  Problem(const Case& given, int threads, i64 candidates, Objective objective = {},
          std::vector<Constraint> constraints = {})
      : config(given.config),
        samples(candidates),
        horizon(given.horizon),
        history(given.history),
        ctx({.threads = threads}),
        model(ctx, seeded_weights(given.config, "gradient")),
        dynamics(ctx, model,
                 {.environments = kEnvironments,
                  .samples = candidates,
                  .horizon = given.horizon,
                  .history = given.history,
                  .gradients = true},
                 std::move(objective), std::move(constraints)),
        actions(numbers(kEnvironments * samples * horizon * config.action.input, 1)),
        contexts(numbers(kEnvironments * history * config.latent(), 2)),
        prefixes(numbers(kEnvironments * (history - 1) * config.action.input, 3)),
        goals(numbers(kEnvironments * config.latent(), 4)),
        cost(static_cast<std::size_t>(kEnvironments * samples)),
        gradient(actions.size()) {
    const i64 dim = config.latent(), width = config.action.input;
    dynamics.begin(kEnvironments);
    for (i64 e = 0; e < kEnvironments; ++e) {
      dynamics.observe(e, {contexts.data() + e * history * dim, {history, dim}},
                       history > 1
                           ? View<const float, 2>(prefixes.data() + e * (history - 1) * width,
                                                  {history - 1, width})
                           : View<const float, 2>(),
                       {goals.data() + e * dim, {dim}});
    }
  }

  static std::vector<float> numbers(i64 count, u64 seed) {
    std::vector<float> values(static_cast<std::size_t>(count));
    fill_normal(seed, 7, 0, count, values.data());
    return values;
  }

  View<const float, 4> plans() const {
    return {actions.data(), {kEnvironments, samples, horizon, config.action.input}};
  }
  void find_gradient(View<const float, 3> weights = {}) {
    dynamics.rollout_cost_gradient(ctx, 0, plans(), weights,
                                   {cost.data(), {kEnvironments, samples}},
                                   {gradient.data(), plans().sizes()});
  }

  // |last prediction - goal|^2 of a candidate, by the reference, with one action number changed
  double goal_distance(const RolloutReference& theirs, i64 e, i64 s, i64 number,
                       double change) const {
    const i64 dim = config.latent(), width = config.action.input, shared = history - 1;
    Matrix latents(history, dim), blocks(shared + horizon, width);
    std::copy_n(contexts.begin() + e * history * dim, history * dim, latents.values.begin());
    std::copy_n(prefixes.begin() + e * shared * width, shared * width, blocks.values.begin());
    std::copy_n(actions.begin() + (e * samples + s) * horizon * width, horizon * width,
                blocks.values.begin() + shared * width);
    blocks.values[static_cast<std::size_t>(shared * width + number)] += change;
    const Matrix last = theirs.last(latents, blocks);
    double sum = 0;
    for (i64 d = 0; d < dim; ++d) {
      const double away =
          last(0, d) - static_cast<double>(goals[static_cast<std::size_t>(e * dim + d)]);
      sum += away * away;
    }
    return sum;
  }

  Config config;
  i64 samples, horizon, history;
  Context ctx;
  Model model;
  GoalDynamics dynamics;
  std::vector<float> actions, contexts, prefixes, goals, cost, gradient;
};

TEST(RolloutGradient, IsTheSlopeOfTheReference) {
  // differences over 2e-4 in double are good to 1e-7 of the largest slope; the rest is float
  // rounding through two layers a block, measured below 1e-5
  constexpr double kStep = 1e-4;
  constexpr double kTolerance = 2e-5;
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.name);
    Problem problem(one, 2, 3);
    const RolloutReference theirs(problem.model.weights());
    problem.find_gradient();
    const i64 each = problem.horizon * problem.config.action.input;
    for (i64 e = 0; e < Problem::kEnvironments; ++e) {
      for (i64 s = 0; s < problem.samples; ++s) {
        const i64 row = e * problem.samples + s;
        const double cost = problem.goal_distance(theirs, e, s, 0, 0);
        EXPECT_NEAR(problem.cost[static_cast<std::size_t>(row)], cost, 2e-5 * (1 + cost));
        std::vector<double> slopes;
        double largest = 0;
        for (i64 i = 0; i < each; ++i) {
          slopes.push_back((problem.goal_distance(theirs, e, s, i, kStep) -
                            problem.goal_distance(theirs, e, s, i, -kStep)) /
                           (2 * kStep));
          largest = std::max(largest, std::abs(slopes.back()));
        }
        EXPECT_GT(largest, 0.01) << "nothing would be compared";
        for (i64 i = 0; i < each; ++i) {
          EXPECT_NEAR(problem.gradient[static_cast<std::size_t>(row * each + i)],
                      slopes[static_cast<std::size_t>(i)], kTolerance * largest)
              << "environment " << e << ", sample " << s << ", number " << i;
        }
      }
    }
  }
}

TEST(RolloutGradient, CostsAreThoseOfTheRollout) {
  for (const Case& one : cases()) {
    Problem problem(one, 2, 5);
    problem.find_gradient();
    std::vector<float> cost(problem.cost.size());
    problem.dynamics.rollout_cost(problem.ctx, 0, problem.plans(),
                                  {cost.data(), {Problem::kEnvironments, problem.samples}});
    for (std::size_t i = 0; i < cost.size(); ++i) {
      // the same products, fused there and one after the other here
      EXPECT_NEAR(problem.cost[i], cost[i], 1e-5f * (1 + cost[i])) << one.name;
    }
  }
}

TEST(RolloutGradient, IsSteadyForAnyNumberOfThreadsAndCandidates) {
  const Case one = cases()[0];
  for (const i64 samples : {1, 7, 130}) {
    Problem alone(one, 1, samples), team(one, 3, samples);
    alone.find_gradient();
    team.find_gradient();
    EXPECT_EQ(alone.gradient, team.gradient) << samples;
    EXPECT_EQ(alone.cost, team.cost) << samples;
  }
}

TEST(RolloutGradient, TakesObjectiveAndConstraintsWithIt) {
  const Case one = cases()[1];
  const Objective objective = {{{Measure::goal_mean, 0.5}, {Measure::control_sum, 0.25}}};
  const std::vector<Constraint> constraints = {{Measure::goal_sum, 3.0},
                                               {Measure::largest_action, 0.5}};
  Problem plain(one, 2, 3), full(one, 2, 3, objective, constraints);
  plain.find_gradient();
  const i64 rows = Problem::kEnvironments * full.samples;
  const auto each = static_cast<std::size_t>(full.horizon * full.config.action.input);
  const std::vector<float> weights = Problem::numbers(rows * 2, 9);
  full.find_gradient({weights.data(), {Problem::kEnvironments, full.samples, 2}});

  std::vector<float> values(static_cast<std::size_t>(rows * 2));
  full.dynamics.constrain(full.ctx, 0, full.plans(),
                          {values.data(), {Problem::kEnvironments, full.samples, 2}});
  for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
    const float* a = full.actions.data() + row * each;
    std::size_t largest = 0;
    for (std::size_t i = 1; i < each; ++i) {
      if (std::abs(a[i]) > std::abs(a[largest])) largest = i;
    }
    EXPECT_NEAR(values[2 * row], plain.cost[row] - 3.0f, 1e-4);
    EXPECT_NEAR(values[2 * row + 1], std::abs(a[largest]) - 0.5f, 1e-6);
    const float of_goal = 0.5f / static_cast<float>(full.config.latent()) + weights[2 * row];
    for (std::size_t i = 0; i < each; ++i) {
      float expected = of_goal * plain.gradient[row * each + i] + 0.5f * a[i];
      if (i == largest)
        expected += std::copysign(weights[2 * row + 1], weights[2 * row + 1] * a[i]);
      EXPECT_NEAR(full.gradient[row * each + i], expected, 1e-4f * (1 + std::abs(expected)));
    }
  }
}

TEST(RolloutGradient, DescentLowersWhatTheModelImagines) {
  Problem problem(cases()[0], 2, 8);
  CounterNoise noise(5);
  GradientPlanner planner({.samples = 8,
                           .steps = 25,
                           .optimiser = {.kind = OptimiserConfig::Kind::adamw, .lr = 0.1},
                           .answer = DescentAnswer::final_cost},
                          {Problem::kEnvironments, problem.horizon, problem.config.action.input},
                          noise);
  std::vector<float> first;
  planner.observe([&](const DescentStep& step) {
    if (step.step == 0) first = {step.figures[0].best_cost, step.figures[1].best_cost};
  });
  std::vector<float> actions(static_cast<std::size_t>(Problem::kEnvironments * problem.horizon *
                                                      problem.config.action.input));
  std::vector<float> cost(Problem::kEnvironments);
  const PlanResult result = {
      {actions.data(), {Problem::kEnvironments, problem.horizon, problem.config.action.input}},
      {cost.data(), {Problem::kEnvironments}},
      {}};
  planner.plan(problem.ctx, problem.dynamics, {}, result);
  for (std::size_t e = 0; e < cost.size(); ++e) EXPECT_LT(cost[e], 0.7f * first[e]);

  if (!allocations_are_counted()) return;
  planner.observe({});
  planner.plan(problem.ctx, problem.dynamics, {}, result);
  const i64 before = allocations();
  planner.plan(problem.ctx, problem.dynamics, {}, result);
  EXPECT_EQ(allocations(), before);
}

TEST(RolloutGradient, RefusesWhatDoesNotFit) {
  Problem problem(cases()[0], 1, 2);
  Context& ctx = problem.ctx;
  GoalDynamics without(ctx, problem.model, {.environments = 1, .samples = 2, .horizon = 5});
  without.begin(1);
  std::vector<float> cost(2), gradient(2 * 5 * 4);
  const View<const float, 4> plans(problem.actions.data(), {1, 2, 5, 4});
  EXPECT_THROW(without.rollout_cost_gradient(ctx, 0, plans, {}, {cost.data(), {1, 2}},
                                             {gradient.data(), {1, 2, 5, 4}}),
               Error);
  EXPECT_THROW(RolloutGradient(ctx, problem.model, {.samples = 0}), Error);
  EXPECT_THROW(RolloutGradient(ctx, problem.model, {.history = 3, .blocks = 2}), Error);
}

}  // namespace
}  // namespace orrery::lewm
