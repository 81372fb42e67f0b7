#include "plan/policy.h"

#include <gmock/gmock.h>

#include <cmath>
#include <vector>

#include "base/error.h"
#include "plan/point_mass.h"
#include "tests/allocations/counter.h"

namespace orrery {
namespace {

using testing::ElementsAre;

// number d of block t of plan number n of environment e is 1000 e + 100 n + 10 t + d; remembers
// what it was asked
class CountingPlanner final : public Planner {
 public:
  CountingPlanner(i64 horizon, i64 dim, i64 environments)
      : horizon_(horizon), dim_(dim), environments_(environments) {}
  i64 horizon() const override { return horizon_; }
  i64 action_dim() const override { return dim_; }
  i64 max_environments() const override { return environments_; }
  void plan(Context&, Dynamics&, const PlanRequest& request, const PlanResult& result) override {
    for (std::size_t i = 0; i < request.keys.size(); ++i) {
      const auto row = static_cast<i64>(i);
      for (i64 t = 0; t < horizon_; ++t) {
        for (i64 d = 0; d < dim_; ++d) {
          result.actions(row, t, d) = static_cast<float>(1000 * request.keys[i].environment +
                                                         100 * request.keys[i].plan + 10 * t + d);
        }
      }
      result.cost[row] = static_cast<float>(request.keys[i].plan) + 0.5f;
    }
    if (!recording) return;
    warm_blocks.push_back(request.warm_start ? request.warm_start.size(1) : -1);
    warm_first.clear();
    for (i64 i = 0; request.warm_start && i < request.warm_start.size(0); ++i) {
      warm_first.push_back(request.warm_start(i, 0, 0));
    }
  }

  bool recording = true;
  std::vector<i64> warm_blocks;   // of every call, -1: none given
  std::vector<float> warm_first;  // of the last call, first number of each environment

 private:
  i64 horizon_, dim_, environments_;
};

// a Dynamics that nobody asks for costs, of the right number of environments
class Nothing final : public Dynamics {
 public:
  i64 environments() const override { return count; }
  i64 action_dim() const override { return 4; }
  void rollout_cost(Context&, i64, View<const float, 4>, View<float, 2>) override {}
  i64 count = 0;
};

// a policy over three environments, blocks of 2 steps x 2 numbers, horizon 3
struct Stage {
  explicit Stage(PlanConfig config, ActionScale scale = {})
      : planner(3, 4, 3), policy(config, 3, 2, scale, planner), actions(6) {}

  // first number of the action of every environment; who was planned for goes to `asked`
  std::vector<float> step() {
    asked.clear();
    planned = policy.act(ctx,
                         [&](std::span<const i64> who) -> Dynamics& {
                           asked.assign(who.begin(), who.end());
                           dynamics.count = static_cast<i64>(who.size());
                           return dynamics;
                         },
                         {actions.data(), {3, 2}});
    return {actions[0], actions[2], actions[4]};
  }

  Context ctx{{.threads = 1}};
  CountingPlanner planner;
  RecedingHorizonPolicy policy;
  Nothing dynamics;
  std::vector<float> actions;
  std::vector<i64> asked;
  i64 planned = 0;
};

constexpr PlanConfig kConfig = {.horizon = 3, .receding_horizon = 2, .action_block = 2};

TEST(Policy, CarriesOutTheFirstBlocksThenPlansAgain) {
  Stage stage(kConfig);
  EXPECT_THAT(stage.step(), ElementsAre(0, 1000, 2000));
  EXPECT_THAT(stage.asked, ElementsAre(0, 1, 2));
  EXPECT_EQ(stage.planned, 3);
  EXPECT_EQ(stage.actions[1], 1.0f);
  EXPECT_THAT(stage.step(), ElementsAre(2, 1002, 2002));
  EXPECT_EQ(stage.planned, 0);
  EXPECT_THAT(stage.step(), ElementsAre(10, 1010, 2010));
  EXPECT_THAT(stage.step(), ElementsAre(12, 1012, 2012));
  EXPECT_THAT(stage.asked, ElementsAre());
  EXPECT_THAT(stage.step(), ElementsAre(100, 1100, 2100));
  EXPECT_EQ(stage.planned, 3);
  EXPECT_EQ(stage.policy.plans_made(1), 2);
  EXPECT_EQ(stage.policy.last_cost(1), 1.5f);
  EXPECT_EQ(stage.policy.last_plan(1)(2, 3), 1123.0f);
}

TEST(Policy, StartsTheNextPlanFromTheRest) {
  Stage stage(kConfig);
  for (int step = 0; step < 5; ++step) stage.step();
  EXPECT_THAT(stage.planner.warm_blocks, ElementsAre(-1, 1));
  EXPECT_THAT(stage.planner.warm_first, ElementsAre(20, 1020, 2020));

  PlanConfig cold = kConfig;
  cold.warm_start = false;
  Stage without(cold);
  for (int step = 0; step < 5; ++step) without.step();
  EXPECT_THAT(without.planner.warm_blocks, ElementsAre(-1, -1));

  PlanConfig whole = kConfig;
  whole.receding_horizon = 3;
  Stage nothing_left(whole);
  for (int step = 0; step < 7; ++step) nothing_left.step();
  EXPECT_THAT(nothing_left.planner.warm_blocks, ElementsAre(-1, -1));
}

TEST(Policy, AFlushedEnvironmentPlansAloneAndFromZeros) {
  Stage stage(kConfig);
  stage.step();
  stage.step();
  stage.policy.flush(1);
  EXPECT_THAT(stage.step(), ElementsAre(10, 1100, 2010));
  EXPECT_THAT(stage.asked, ElementsAre(1));
  EXPECT_THAT(stage.planner.warm_first, ElementsAre(0));
  stage.step();
  EXPECT_THAT(stage.step(), ElementsAre(100, 1110, 2100));
  EXPECT_THAT(stage.asked, ElementsAre(0, 2));
  EXPECT_THAT(stage.planner.warm_first, ElementsAre(20, 2020));
}

TEST(Policy, AFinishedEnvironmentGetsNanAndNoPlans) {
  Stage stage(kConfig);
  stage.step();
  stage.policy.finish(0);
  for (int step = 0; step < 3; ++step) EXPECT_TRUE(std::isnan(stage.step()[0]));
  EXPECT_TRUE(std::isnan(stage.step()[0]));
  EXPECT_TRUE(std::isnan(stage.actions[1]));
  EXPECT_THAT(stage.asked, ElementsAre(1, 2));

  stage.policy.flush(0);
  EXPECT_EQ(stage.step()[0], 100.0f);
  EXPECT_THAT(stage.asked, ElementsAre(0));

  for (const i64 e : {0, 1, 2}) stage.policy.finish(e);
  stage.step();
  EXPECT_EQ(stage.planned, 0);
}

TEST(Policy, ScalesActionsInFloat32) {
  Stage stage(kConfig, {.mean = {0.1, -7}, .std = {0.3, 1e-3}});
  stage.step();
  EXPECT_EQ(stage.actions[2], 1000.0f * 0.3f + 0.1f);
  EXPECT_EQ(stage.actions[3], 1001.0f * 1e-3f + -7.0f);
}

TEST(Policy, RemembersTheActionsAModelLooksBackOn) {
  PlanConfig config = kConfig;
  config.history_len = 2;
  Stage stage(config, {.mean = {1, 1}, .std = {2, 2}});
  EXPECT_EQ(stage.policy.past_actions(1).size(0), 0);
  stage.step();
  ASSERT_EQ(stage.policy.past_actions(1).size(0), 1);
  stage.step();
  stage.step();
  // z-scored, as planned
  const auto past = stage.policy.past_actions(1);
  ASSERT_EQ(past.size(0), 2);
  EXPECT_EQ(past(0, 0), 1002.0f);
  EXPECT_EQ(past(1, 0), 1010.0f);
  EXPECT_EQ(past(1, 1), 1011.0f);
  stage.policy.flush(1);
  EXPECT_EQ(stage.policy.past_actions(1).size(0), 0);
  EXPECT_EQ(stage.policy.past_actions(0).size(0), 2);
}

TEST(Policy, AllocatesNothingWhileActing) {
  PlanConfig config = kConfig;
  config.history_len = 3;
  Stage stage(config);
  stage.planner.recording = false;
  const auto observe = [&](std::span<const i64> who) -> Dynamics& {
    stage.dynamics.count = static_cast<i64>(who.size());
    return stage.dynamics;
  };
  const i64 before = allocations();
  for (int step = 0; step < 20; ++step) {
    stage.policy.act(stage.ctx, observe, {stage.actions.data(), {3, 2}});
    if (step == 6) stage.policy.flush(2);
  }
  EXPECT_EQ(allocations(), before);
}

TEST(Policy, SaysWhatDoesNotFit) {
  CountingPlanner planner(3, 4, 3);
  const auto make = [&](PlanConfig config, i64 environments = 3, i64 raw = 2,
                        ActionScale scale = {}) {
    RecedingHorizonPolicy(config, environments, raw, scale, planner);
  };
  EXPECT_NO_THROW(make(kConfig));
  EXPECT_THROW(make({.horizon = 3, .receding_horizon = 4, .action_block = 2}), Error);
  EXPECT_THROW(make({.horizon = 3, .receding_horizon = 0, .action_block = 2}), Error);
  EXPECT_THROW(make({.horizon = 4, .receding_horizon = 2, .action_block = 2}), Error);
  EXPECT_THROW(make({.horizon = 3, .receding_horizon = 2, .action_block = 0}), Error);
  EXPECT_THROW(make({.horizon = 3, .receding_horizon = 2, .action_block = 3}), Error);
  EXPECT_THROW(make(kConfig, 4), Error);
  EXPECT_THROW(make(kConfig, 0), Error);
  EXPECT_THROW(make(kConfig, 3, 1), Error);
  EXPECT_THROW(make(kConfig, 3, 2, {.mean = {1}, .std = {1, 2}}), Error);
  EXPECT_THROW(make(kConfig, 3, 2, {.mean = {}, .std = {1, 2}}), Error);

  Stage stage(kConfig);
  EXPECT_THROW(stage.policy.finish(3), Error);
  EXPECT_THROW(stage.policy.flush(-1), Error);
  std::vector<float> actions(6);
  // a dynamics of too few environments
  stage.dynamics.count = 2;
  const auto observe = [&](std::span<const i64>) -> Dynamics& { return stage.dynamics; };
  EXPECT_THROW(stage.policy.act(stage.ctx, observe, {actions.data(), {3, 2}}), Error);
  EXPECT_THROW(stage.policy.act(stage.ctx, observe, {actions.data(), {2, 3}}), Error);
}

}  // namespace
}  // namespace orrery
