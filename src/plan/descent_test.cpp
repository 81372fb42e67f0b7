#include "plan/descent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "plan/descent_point_mass.h"
#include "plan/gradient.h"
#include "plan/pgd.h"
#include "tests/allocations/counter.h"

namespace orrery {
namespace {

using testing::HasSubstr;
using World = PointMass<float>::World;

constexpr i64 kHorizon = 3;
constexpr i64 kDim = 2;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<World> three_worlds() {
  return {{{0, 0}, {2, -1}}, {{1, 1}, {-3, 4}}, {{0.5f, -0.5f}, {0.5f, -0.5f}}};
}

struct Made {
  std::vector<float> actions, cost;
  float action(i64 e, i64 t, i64 d) const {
    return actions[static_cast<std::size_t>((e * kHorizon + t) * kDim + d)];
  }
};

Made plan(Descent& planner, DescentPointMass& world, PlanRequest request = {}) {
  Context ctx({.threads = 1});
  const i64 count = world.environments();
  Made made;
  made.actions.resize(static_cast<std::size_t>(count * kHorizon * kDim));
  made.cost.resize(static_cast<std::size_t>(count));
  planner.plan(ctx, world, request,
               {{made.actions.data(), {count, kHorizon, kDim}}, {made.cost.data(), {count}}, {}});
  return made;
}

PlanSizes sizes(i64 environments) { return {environments, kHorizon, kDim}; }

TEST(Descent, FindsTheBestPlanOfEveryEnvironment) {
  for (const i64 batch : {0, 1, 2}) {
    for (const auto kind :
         {OptimiserConfig::Kind::sgd, OptimiserConfig::Kind::adam, OptimiserConfig::Kind::adamw}) {
      CounterNoise noise(5);
      // the cost curves by 2 (horizon + effort) = 8 along the path, so plain steps below 1 / 4
      // shrink the error; the others walk about 0.02 a step
      const bool plain = kind == OptimiserConfig::Kind::sgd;
      GradientPlanner planner(
          {.samples = 4,
           .steps = plain ? 60 : 400,
           .batch_size = batch,
           .optimiser = {.kind = kind, .lr = plain ? 0.1 : 0.02, .weight_decay = 0},
           .answer = DescentAnswer::best},
          sizes(3), noise);
      DescentPointMass world(three_worlds());
      const Made made = plan(planner, world);
      for (i64 e = 0; e < 3; ++e) {
        for (i64 t = 0; t < kHorizon; ++t) {
          for (i64 d = 0; d < kDim; ++d) {
            EXPECT_NEAR(made.action(e, t, d), world.mass().best_action(e, kHorizon, d), 0.02);
          }
        }
        EXPECT_NEAR(made.cost[static_cast<std::size_t>(e)], world.mass().best_cost(e, kHorizon),
                    1e-2);
      }
    }
  }
}

// groups and neighbours are no part of an environment's problem
TEST(Descent, PlansDoNotDependOnWhoElseIsPlanned) {
  const DescentConfig config = {
      .samples = 5, .steps = 4, .action_noise = 0.1, .optimiser = {.lr = 0.05}};
  DescentPointMass all(three_worlds()), second({three_worlds()[1]});
  CounterNoise noise(9);
  DescentConfig in_pairs = config;
  in_pairs.batch_size = 2;
  GradientPlanner together(config, sizes(3), noise), pairs(in_pairs, sizes(3), noise),
      alone(config, sizes(1), noise);
  const Made a = plan(together, all), b = plan(pairs, all);
  EXPECT_EQ(a.actions, b.actions);
  EXPECT_EQ(a.cost, b.cost);
  const std::vector<PlanKey> keys = {{1, 0}};
  const Made c = plan(alone, second, {.warm_start = {}, .keys = keys});
  for (i64 i = 0; i < kHorizon * kDim; ++i) {
    EXPECT_EQ(c.action(0, 0, i), a.action(1, 0, i));
  }
}

TEST(Descent, ChoosesByTheRuleItWasTold) {
  // a step of 0.3 along a curvature of 8 overshoots: it is farther away than before
  const DescentConfig config = {.samples = 2, .steps = 1, .optimiser = {.lr = 0.3}};
  const std::vector<float> near_best = {0.5f, -0.25f, 0.5f, -0.25f, 0.5f, -0.2f};
  PlanRequest request;
  request.warm_start = {near_best.data(), {1, kHorizon, kDim}};
  DescentPointMass world({three_worlds()[0]});
  CounterNoise noise(1);
  float start_cost = 0;
  Context ctx({.threads = 1});
  world.rollout_cost(ctx, 0, {near_best.data(), {1, 1, kHorizon, kDim}}, {&start_cost, {1, 1}});

  std::vector<Made> made;
  for (const auto answer :
       {DescentAnswer::last_step_cost, DescentAnswer::final_cost, DescentAnswer::best}) {
    DescentConfig one = config;
    one.answer = answer;
    GradientPlanner planner(one, sizes(1), noise);
    made.push_back(plan(planner, world, request));
  }
  // the cost before the step, with the actions after it
  EXPECT_EQ(made[0].cost[0], start_cost);
  EXPECT_NE(made[0].actions, near_best);
  // the cost of what is answered
  float cost = 0;
  world.rollout_cost(ctx, 0, {made[1].actions.data(), {1, 1, kHorizon, kDim}}, {&cost, {1, 1}});
  EXPECT_EQ(made[1].cost[0], cost);
  EXPECT_GT(cost, start_cost);
  // never worse than the start
  EXPECT_EQ(made[2].actions, near_best);
  EXPECT_EQ(made[2].cost[0], start_cost);
}

TEST(Descent, WhatIsNotANumberNeverWins) {
  const DescentConfig config = {.samples = 3, .steps = 5, .grad_clip = 1, .optimiser = {.lr = 0.1}};
  CounterNoise noise(3);
  for (const auto answer :
       {DescentAnswer::last_step_cost, DescentAnswer::final_cost, DescentAnswer::best}) {
    DescentConfig one = config;
    one.answer = answer;
    GradientPlanner planner(one, sizes(1), noise);

    // one sample of three has no gradient: it stays where it is, the others do as without it
    DescentPointMass plain({three_worlds()[0]}), spoilt({three_worlds()[0]});
    spoilt.spoil = [](i64, i64 sample, i64, float& cost, View<float, 2> gradient) {
      if (sample != 1) return;
      cost = kNan;
      gradient(0, 1) = kNan;
    };
    std::vector<float> first, last;
    planner.observe([&](const DescentStep& step) {
      const View<const float, 2> one_sample = step.actions[0][1];
      last.assign(one_sample.data(), one_sample.data() + one_sample.numel());
      if (step.step == 0) first = last;
      for (i64 i = 0; i < step.gradient.numel(); ++i) {
        EXPECT_TRUE(std::isfinite(step.gradient.data()[i]));
      }
      EXPECT_TRUE(std::isfinite(step.figures[0].best_cost));
      EXPECT_TRUE(std::isnan(step.figures[0].mean_cost));
    });
    const Made made = plan(planner, spoilt);
    EXPECT_EQ(first, last);
    EXPECT_TRUE(std::isfinite(made.cost[0]));
    for (const float a : made.actions) EXPECT_TRUE(std::isfinite(a));

    // from the third evaluation on nothing can be judged: the best of the first two
    planner.observe({});
    DescentPointMass blind({three_worlds()[0]});
    blind.spoil = [](i64, i64, i64 call, float& cost, View<float, 2>) {
      if (call >= 2) cost = kNan;
    };
    if (answer == DescentAnswer::last_step_cost) {
      DescentConfig two = config;
      two.steps = 2;
      two.answer = DescentAnswer::best;
      float lowest = std::numeric_limits<float>::infinity();
      GradientPlanner short_planner(two, sizes(1), noise);
      short_planner.observe(
          [&](const DescentStep& step) { lowest = std::min(lowest, step.figures[0].best_cost); });
      plan(short_planner, plain);
      EXPECT_EQ(plan(planner, blind).cost[0], lowest);
    }
  }

  // nothing was ever judged: the start
  GradientPlanner planner(config, sizes(1), noise);
  DescentPointMass dark({three_worlds()[0]});
  dark.spoil = [](i64, i64, i64, float& cost, View<float, 2>) { cost = kNan; };
  const std::vector<float> warm = {1, 2};
  PlanRequest request;
  request.warm_start = {warm.data(), {1, 1, kDim}};
  const Made made = plan(planner, dark, request);
  EXPECT_TRUE(std::isnan(made.cost[0]));
  EXPECT_EQ(made.actions, (std::vector<float>{1, 2, 0, 0, 0, 0}));
}

TEST(Descent, EqualCostsGoToTheFirstSample) {
  CounterNoise noise(3);
  GradientPlanner planner({.samples = 4, .steps = 1, .optimiser = {.lr = 0.1}}, sizes(1), noise);
  DescentPointMass world({three_worlds()[0]});
  world.spoil = [](i64, i64, i64, float& cost, View<float, 2>) { cost = 7; };
  const Made made = plan(planner, world);
  const View<const float, 2> first = planner.samples_at_end()[0][0];
  EXPECT_EQ(made.actions, std::vector<float>(first.data(), first.data() + first.numel()));
}

TEST(Descent, ClipsTheLengthOfAllGradientsTogether) {
  CounterNoise noise(3);
  GradientPlanner planner({.samples = 2, .steps = 1, .grad_clip = 0.5, .optimiser = {.lr = 1}},
                          sizes(2), noise);
  DescentPointMass world({three_worlds()[0], three_worlds()[1]});
  std::vector<float> before;
  planner.observe([&](const DescentStep& step) {
    before.assign(step.actions.data(), step.actions.data() + step.actions.numel());
  });
  plan(planner, world);
  double square = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const double moved = static_cast<double>(planner.samples_at_end().data()[i] - before[i]);
    square += moved * moved;
  }
  EXPECT_NEAR(std::sqrt(square), 0.5, 1e-5);
}

TEST(Descent, ABudgetEndsItWithTheBestSoFar) {
  const DescentConfig config = {.steps = 50, .optimiser = {.lr = 0.02}};
  CounterNoise noise(3);
  for (const auto answer : {DescentAnswer::last_step_cost, DescentAnswer::final_cost}) {
    DescentConfig one = config;
    one.answer = answer;
    GradientPlanner planner(one, sizes(1), noise);
    DescentPointMass world({three_worlds()[0]});
    // every evaluation takes 10 ms of simulated time
    u64 now = 1000;
    world.spoil = [&](i64, i64, i64, float&, View<float, 2>) { now += 10'000'000; };
    const std::function<u64()> clock = [&] { return now; };
    PlanRequest request;
    request.budget_ms = 45;
    request.clock = &clock;
    std::vector<float> costs;
    planner.observe([&](const DescentStep& step) { costs.push_back(step.costs(0, 0)); });
    const Made made = plan(planner, world, request);
    EXPECT_EQ(world.evaluations(), 4) << "five would have taken 50 ms";
    EXPECT_EQ(made.cost[0], costs.back()) << "the last that was evaluated is the best here";

    // one step is always made
    request.budget_ms = 1e-9;
    plan(planner, world, request);
    EXPECT_EQ(world.evaluations(), 5);
  }
}

TEST(Descent, TellsHowItWent) {
  CounterNoise noise(3);
  GradientPlanner planner({.samples = 2, .steps = 3, .batch_size = 1, .optimiser = {.lr = 0.1}},
                          sizes(2), noise);
  DescentPointMass world({three_worlds()[0], three_worlds()[1]});
  std::vector<PlanTrace> traces;
  planner.set_trace(&traces);
  std::vector<float> lengths[2];
  planner.observe([&](const DescentStep& step) {
    double length = 0;
    for (i64 s = 0; s < 2; ++s) {
      double square = 0;
      for (i64 t = 0; t < kHorizon; ++t) {
        for (i64 d = 0; d < kDim; ++d) {
          square += std::pow(static_cast<double>(step.gradient(0, s, t, d)), 2);
        }
      }
      length += std::sqrt(square) / 2;
    }
    lengths[step.first_environment].push_back(static_cast<float>(length));
  });
  plan(planner, world);
  ASSERT_EQ(traces.size(), 2u);
  for (std::size_t e = 0; e < 2; ++e) {
    ASSERT_EQ(traces[e].gradient_norm.size(), 3u);
    EXPECT_EQ(traces[e].action_norm.size(), 3u);
    EXPECT_EQ(traces[e].mean_cost.size(), 3u);
    EXPECT_LT(traces[e].best_cost[2], traces[e].best_cost[0]);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(traces[e].gradient_norm[i], lengths[e][i], 1e-5 * lengths[e][i]);
    }
    EXPECT_TRUE(traces[e].elite_mean.empty());
  }
}

TEST(Descent, PlansWithoutAllocating) {
  if (!allocations_are_counted()) GTEST_SKIP() << "a sanitizer owns malloc";
  Context ctx({.threads = 2});
  CounterNoise noise(3);
  GradientPlanner planner({.samples = 5,
                           .steps = 4,
                           .action_noise = 0.1,
                           .batch_size = 2,
                           .grad_clip = 1,
                           .optimiser = {.kind = OptimiserConfig::Kind::adamw, .lr = 0.1},
                           .answer = DescentAnswer::best},
                          sizes(3), noise);
  DescentPointMass world(three_worlds());
  std::vector<float> actions(3 * kHorizon * kDim), cost(3);
  const PlanResult result = {{actions.data(), {3, kHorizon, kDim}}, {cost.data(), {3}}, {}};
  planner.plan(ctx, world, {}, result);
  const i64 before = allocations();
  planner.plan(ctx, world, {}, result);
  EXPECT_EQ(allocations(), before);
}

TEST(Descent, RefusesWhatMakesNoSense) {
  CounterNoise noise(3);
  const auto with = [&](const DescentConfig& config) { GradientPlanner(config, sizes(1), noise); };
  EXPECT_THROW(with({.samples = 0}), Error);
  EXPECT_THROW(with({.steps = 0}), Error);
  EXPECT_THROW(with({.initial_std = -1}), Error);
  EXPECT_THROW(with({.action_noise = std::nan("")}), Error);
  EXPECT_THROW(with({.batch_size = -1}), Error);
  EXPECT_THROW(with({.grad_clip = -1}), Error);
  EXPECT_THROW(GradientPlanner({}, {0, 1, 1}, noise), Error);
  EXPECT_THROW(PgdPlanner({.categories = 4}, {1, 1, 10}, noise), Error);

  // costs alone are not enough
  GradientPlanner planner({}, sizes(1), noise);
  PointMass<float> costs_only({three_worlds()[0]});
  std::vector<float> actions(kHorizon * kDim);
  Context ctx({.threads = 1});
  try {
    planner.plan(ctx, costs_only, {}, {{actions.data(), {1, kHorizon, kDim}}, {}, {}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("tells costs only"));
  }
}

}  // namespace
}  // namespace orrery
