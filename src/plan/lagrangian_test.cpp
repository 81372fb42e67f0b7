#include "plan/lagrangian.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/error.h"
#include "plan/descent_point_mass.h"
#include "tests/allocations/counter.h"

namespace orrery {
namespace {

constexpr i64 kHorizon = 3;

// the goal is at (2, -1), so that the best plan goes 3 * 2 / (3 + 1) = 1.5 along the first axis
DescentPointMass limited_world(i64 environments = 1) {
  DescentPointMass world(std::vector<PointMass<float>::World>(
                             static_cast<std::size_t>(environments), {{0, 0}, {2, -1}}),
                         true);
  world.limit = 0.9f;
  return world;
}

LagrangianConfig config() {
  return {.descent = {.steps = 200, .optimiser = {.kind = OptimiserConfig::Kind::adam, .lr = 0.02}},
          .rounds = 12,
          .constraints = 1,
          .rho_max = 8};
}

struct Made {
  std::vector<float> actions, cost;
  // the first axis: how far the plan goes
  float way(i64 e = 0) const {
    float sum = 0;
    for (i64 t = 0; t < kHorizon; ++t) {
      sum += actions[static_cast<std::size_t>((e * kHorizon + t) * 2)];
    }
    return sum;
  }
};

Made plan(LagrangianPlanner& planner, DescentPointMass& world, std::span<const PlanKey> keys = {}) {
  Context ctx({.threads = 1});
  const i64 count = world.environments();
  Made made;
  made.actions.resize(static_cast<std::size_t>(count * kHorizon * 2));
  made.cost.resize(static_cast<std::size_t>(count));
  PlanRequest request;
  request.keys = keys;
  planner.plan(ctx, world, request,
               {{made.actions.data(), {count, kHorizon, 2}}, {made.cost.data(), {count}}, {}});
  return made;
}

TEST(Lagrangian, KeepsToALimitThatTheCostWouldBreak) {
  CounterNoise noise(1);
  DescentPointMass world = limited_world();
  LagrangianPlanner planner(config(), {1, kHorizon, 2}, noise);
  const Made made = plan(planner, world);
  EXPECT_NEAR(made.way(), 0.9, 0.01);
  // where the limit holds its multiplier pulls as much as the cost: 2 (2 - 0.9) - 2 * 0.9 / 3
  EXPECT_NEAR(planner.multipliers()(0, 0), 1.6, 0.1);
  EXPECT_LT(planner.constraint_violation()[0], 0.01);

  // a limit that nothing comes near is as none
  world.limit = 100;
  planner.forget();
  EXPECT_NEAR(plan(planner, world).way(), 1.5, 0.01);
  EXPECT_EQ(planner.multipliers()(0, 0), 0.0f);
  EXPECT_EQ(planner.constraint_violation()[0], 0.0f);
}

TEST(Lagrangian, TheBestAnswerKeepsToTheLimit) {
  CounterNoise noise(1);
  LagrangianConfig one = config();
  one.rounds = 2;  // too few for the limit to hold exactly
  one.descent.samples = 8;
  one.descent.answer = DescentAnswer::best;
  LagrangianPlanner planner(one, {1, kHorizon, 2}, noise);
  DescentPointMass world = limited_world();
  EXPECT_LE(plan(planner, world).way(), 0.9f + 1e-5f);
}

TEST(Lagrangian, MultipliersStayWithTheirEnvironment) {
  CounterNoise noise(1);
  LagrangianConfig one = config();
  one.rounds = 1;
  LagrangianPlanner planner(one, {2, kHorizon, 2}, noise);
  DescentPointMass both = limited_world(2), single = limited_world();
  const std::vector<PlanKey> seven_and_nine = {{7, 0}, {9, 0}}, nine = {{9, 1}}, seven = {{7, 1}};

  plan(planner, both, seven_and_nine);
  const float once = planner.multipliers()(1, 0);
  EXPECT_GT(once, 0);
  plan(planner, single, nine);
  const float twice = planner.multipliers()(0, 0);
  EXPECT_GT(twice, once);
  plan(planner, single, seven);
  EXPECT_EQ(planner.multipliers()(0, 0), twice) << "the same world, planned for as often";

  // a third environment takes the place of 9, which was planned for longest ago
  const std::vector<PlanKey> three = {{3, 0}};
  plan(planner, single, three);
  EXPECT_EQ(planner.multipliers()(0, 0), once);
  plan(planner, single, nine);
  EXPECT_EQ(planner.multipliers()(0, 0), once);

  one.persist_multipliers = false;
  LagrangianPlanner forgetful(one, {2, kHorizon, 2}, noise);
  plan(forgetful, single, seven);
  plan(forgetful, single, seven);
  EXPECT_EQ(forgetful.multipliers()(0, 0), once);
}

TEST(Lagrangian, PlansWithoutAllocating) {
  if (!allocations_are_counted()) GTEST_SKIP() << "a sanitizer owns malloc";
  Context ctx({.threads = 1});
  CounterNoise noise(1);
  LagrangianPlanner planner(config(), {2, kHorizon, 2}, noise);
  DescentPointMass world = limited_world(2);
  std::vector<float> actions(2 * kHorizon * 2);
  const PlanResult result = {{actions.data(), {2, kHorizon, 2}}, {}, {}};
  planner.plan(ctx, world, {}, result);
  const i64 before = allocations();
  planner.plan(ctx, world, {}, result);
  EXPECT_EQ(allocations(), before);
}

TEST(Lagrangian, RefusesWhatMakesNoSense) {
  CounterNoise noise(1);
  LagrangianConfig one = config();
  one.rounds = 0;
  EXPECT_THROW(LagrangianPlanner(one, {1, kHorizon, 2}, noise), Error);
  one = config();
  one.rho = -1;
  EXPECT_THROW(LagrangianPlanner(one, {1, kHorizon, 2}, noise), Error);
  one = config();
  one.constraints = 2;
  LagrangianPlanner planner(one, {1, kHorizon, 2}, noise);
  DescentPointMass world = limited_world();
  EXPECT_THROW(plan(planner, world), Error);
}

}  // namespace
}  // namespace orrery
