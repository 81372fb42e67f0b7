#include "models/lewm/pilot.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "models/lewm/recipe.h"
#include "ops/test_support.h"
#include "plan/choice.h"

namespace orrery::lewm {
namespace {

using test::max_difference;

// as little as shows everything: kernels run in an emulation, too, under sanitizers
constexpr i64 kSide = 14, kHorizon = 2, kWidth = 6;

Config small_config() {
  Config config;
  config.encoder = {
      .image_size = kSide, .patch = 7, .hidden = 24, .layers = 1, .heads = 3, .mlp = 40};
  config.projector = {.input = 24, .hidden = 36, .output = 20};
  config.predictor = {.window = 3,
                      .input = 20,
                      .hidden = 20,
                      .output = 20,
                      .depth = 1,
                      .heads = 3,
                      .head_dim = 8,
                      .mlp = 44};
  config.pred_proj = {.input = 20, .hidden = 30, .output = 20};
  config.action = {.input = kWidth, .smoothed = 5, .output = 20, .mlp_scale = 2};
  return config;
}

std::vector<u8> pictures(i64 count, u64 seed) {
  std::vector<u8> bytes(static_cast<std::size_t>(count * kSide * kSide * 3));
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<u8>(philox(seed, 5, i)[0]);
  return bytes;
}

// everything that a plan depends on, and what came of it
struct Question {
  i64 environments = 1, history = 1;
  u64 sight = 1;  // which pictures and action history
  std::vector<PlanKey> keys = {};
  std::vector<float> warm = {};  // [environments, kHorizon, kWidth]
  i64 blocks_done = 0;
};
struct Answer {
  std::vector<float> actions, cost;
  bool operator==(const Answer&) const = default;
};

Answer ask(Pilot& pilot, const Question& q) {
  const auto frames = pictures(q.environments * q.history, q.sight);
  const auto blocks = test::random_values(q.environments * (q.history - 1) * kWidth, q.sight);
  Answer answer{std::vector<float>(static_cast<std::size_t>(q.environments * kHorizon * kWidth)),
                std::vector<float>(static_cast<std::size_t>(q.environments))};
  Pilot::Sight sight;
  sight.frames = {frames.data(), {q.environments, q.history, kSide, kSide, 3}};
  if (q.history > 1) sight.blocks = {blocks.data(), {q.environments, q.history - 1, kWidth}};
  sight.blocks_done = q.blocks_done;
  PlanRequest request;
  request.keys = q.keys;
  if (!q.warm.empty()) request.warm_start = {q.warm.data(), {q.environments, kHorizon, kWidth}};
  pilot.plan(sight, request,
             {.actions = {answer.actions.data(), {q.environments, kHorizon, kWidth}},
              .cost = {answer.cost.data(), {q.environments}}});
  return answer;
}

// a model, a planner and a pilot that knows its goals
struct Crew {
  Crew(Context& ctx, const std::string& planner_name, i64 environments = 1, i64 history = 1,
       double enough_std = 0)
      : noise(9), model(ctx, seeded_weights(small_config(), "pilot")) {
    PlannerChoice choice;
    choice.name = planner_name;
    choice.samples = 8;
    choice.elites = 3;
    choice.iterations = 2;
    choice.keep = 2;
    choice.batch_size = 0;
    choice.enough_std = enough_std;
    planner = make_search(ctx, choice,
                          {.environments = environments, .horizon = kHorizon, .action_dim = kWidth},
                          {}, noise);
    pilot.emplace(
        ctx, model, *planner,
        Pilot::Sizes{
            .environments = environments, .history = history, .height = kSide, .width = kSide});
    const auto goals = pictures(environments, 77);
    pilot->set_goals(0, {goals.data(), {environments, kSide, kSide, 3}});
  }
  CounterNoise noise;
  Model model;
  std::unique_ptr<Search> planner;
  std::optional<Pilot> pilot;
};

// what the pieces give when a caller puts them together
Answer by_hand(Context& ctx, const std::string& planner_name, const Question& q) {
  Crew crew(ctx, planner_name, q.environments, q.history);
  crew.planner->observe([](const SearchIteration<float>&) {});  // so it is led by the host
  return ask(*crew.pilot, q);
}

TEST_ON_EVERY_BACKEND(Pilot, CapturedPlansAreThoseLedByTheHost) {
  for (const char* name : {"cem", "icem", "mppi"}) {
    Crew crew(ctx, name);
    Question q;
    // plainly, captured, and replayed with everything else than it was captured with
    for (u64 plan = 0; plan < 3; ++plan) {
      q.sight = 1 + plan;
      q.keys = {{.environment = 3, .plan = static_cast<i64>(plan)}};
      q.warm = plan % 2 == 0 ? std::vector<float>() : test::random_values(kHorizon * kWidth, plan);
      EXPECT_EQ(ask(*crew.pilot, q), by_hand(ctx, name, q)) << name << ", plan " << plan;
      EXPECT_EQ(crew.pilot->captured(), ctx.device() == Device::cuda && plan > 0);
    }
  }
}

TEST_ON_EVERY_BACKEND(Pilot, PlansForManyEnvironmentsAsForEach) {
  Crew crew(ctx, "cem", 2);
  for (const i64 environments : {2, 2, 1, 1, 2}) {  // captured work is of one number of them
    Question q;
    q.environments = environments;
    EXPECT_EQ(ask(*crew.pilot, q), by_hand(ctx, "cem", q)) << environments;
  }
}

TEST_ON_EVERY_BACKEND(Pilot, LooksBackOnSeveralFrames) {
  Crew crew(ctx, "icem", 2, 3);
  Question q;
  q.environments = 2;
  q.history = 3;
  for (u64 plan = 0; plan < 3; ++plan) {
    q.sight = 10 + plan;
    EXPECT_EQ(ask(*crew.pilot, q), by_hand(ctx, "icem", q)) << plan;
  }
}

TEST_ON_EVERY_BACKEND(Pilot, GoalsAreRememberedUntilTheyChange) {
  Crew crew(ctx, "cem");
  const Question q;
  const Answer first = ask(*crew.pilot, q);
  EXPECT_EQ(ask(*crew.pilot, q), first);
  const auto other = pictures(1, 78);
  crew.pilot->set_goals(0, {other.data(), {1, kSide, kSide, 3}});
  EXPECT_NE(ask(*crew.pilot, q), first);
  // the latent of the first goal is as good as its picture
  std::vector<float> latent(20);
  const auto goal = pictures(1, 77);
  crew.pilot->set_goals(0, {goal.data(), {1, kSide, kSide, 3}});
  ctx.download(latent.data(), crew.pilot->dynamics().goals().data(), latent.size() * sizeof(float));
  crew.pilot->set_goals(0, {other.data(), {1, kSide, kSide, 3}});
  crew.pilot->set_goal_latents(0, {latent.data(), {1, 20}});
  EXPECT_EQ(ask(*crew.pilot, q), first);
}

// latents of one picture each, one after the other
std::vector<float> latents_of(Pilot& pilot, const std::vector<u64>& seeds) {
  std::vector<u8> bytes;
  for (const u64 seed : seeds) {
    const auto picture = pictures(1, seed);
    bytes.insert(bytes.end(), picture.begin(), picture.end());
  }
  const auto count = static_cast<i64>(seeds.size());
  std::vector<float> latents(seeds.size() * 20);
  pilot.encode_goals({bytes.data(), {count, kSide, kSide, 3}}, {latents.data(), {count, 20}});
  return latents;
}

TEST_ON_EVERY_BACKEND(Pilot, GoesThroughSeveralGoals) {
  Crew crew(ctx, "cem");
  Pilot& pilot = *crew.pilot;
  const auto answer_for = [&](u64 goal) {
    const auto picture = pictures(1, goal);
    pilot.set_goals(0, {picture.data(), {1, kSide, kSide, 3}});
    return ask(pilot, {});
  };
  const Answer to_78 = answer_for(78), to_79 = answer_for(79), to_itself = answer_for(1);
  EXPECT_EQ(pilot.goal_sequence(0), nullptr);

  // the first goal is what is seen already
  const auto goals = latents_of(pilot, {1, 78, 79});
  pilot.set_goal_sequence(0, {goals.data(), {3, 20}}, {.reached = 1e-3, .blocks = 4});
  EXPECT_EQ(ask(pilot, {}), to_78);
  EXPECT_EQ(pilot.goal_sequence(0)->current(), 1);
  EXPECT_EQ(ask(pilot, {.blocks_done = 3}), to_78);
  EXPECT_EQ(ask(pilot, {.blocks_done = 2}), to_79) << "after five blocks";
  EXPECT_EQ(ask(pilot, {.blocks_done = 9}), to_79) << "the last one stays";
  pilot.restart_goals(0);
  EXPECT_EQ(ask(pilot, {}), to_78);

  // a sequence ends when one goal is set
  EXPECT_EQ(answer_for(1), to_itself);
  EXPECT_EQ(pilot.goal_sequence(0), nullptr);
  EXPECT_THROW(pilot.set_goal_sequence(0, {goals.data(), {3, 20}}, {}), Error);
  EXPECT_THROW(pilot.set_goal_sequence(1, {goals.data(), {3, 20}}, {.blocks = 1}), Error);
  EXPECT_THROW(pilot.set_goal_sequence(0, {goals.data(), {2, 30}}, {.blocks = 1}), Error);
}

TEST_ON_EVERY_BACKEND(Pilot, PlansFromLatentsAsFromTheirPictures) {
  Crew crew(ctx, "cem", 2, 2);
  Question q;
  q.environments = 2;
  q.history = 2;
  const Answer seen = ask(*crew.pilot, q);
  std::vector<float> contexts(2 * 2 * 20);
  crew.pilot->read_latents({contexts.data(), {2, 2, 20}});
  const auto blocks = test::random_values(2 * kWidth, q.sight);
  Answer answer{std::vector<float>(2 * kHorizon * kWidth), std::vector<float>(2)};
  const PlanResult result = {.actions = {answer.actions.data(), {2, kHorizon, kWidth}},
                             .cost = {answer.cost.data(), {2}}};
  crew.pilot->plan_from({contexts.data(), {2, 2, 20}}, {blocks.data(), {2, 1, kWidth}}, {}, result);
  EXPECT_EQ(answer, seen);
  EXPECT_THROW(crew.pilot->plan_from({contexts.data(), {2, 2, 20}}, {}, {}, result), Error);
  EXPECT_THROW(crew.pilot->plan_from({contexts.data(), {4, 1, 20}}, {}, {}, result), Error);
}

TEST_ON_EVERY_BACKEND(Pilot, EndsEarlyWhenTheSpreadIsEnough) {
  Crew crew(ctx, "cem", 1, 1, /*enough_std=*/1e9);
  const Question q;
  for (int plan = 0; plan < 3; ++plan) {
    ask(*crew.pilot, q);
    EXPECT_EQ(crew.planner->iterations_done(), 1) << plan;
  }
}

TEST_ON_EVERY_BACKEND(Pilot, PlansLikeTheCpu) {
  Context cpu({.threads = 1});
  for (const char* name : {"cem", "icem", "mppi"}) {
    Question q;
    const Answer here = by_hand(ctx, name, q), there = by_hand(cpu, name, q);
    // the same candidates and elites; costs of the order of 30 differ by rounding
    EXPECT_LE(max_difference(here.actions, there.actions), 1e-4) << name;
    EXPECT_LE(max_difference(here.cost, there.cost), 1e-3) << name;
  }
}

TEST(Pilot, SaysWhatItNeeds) {
  Context ctx({.threads = 1});
  Crew crew(ctx, "cem", 2);
  Question q;
  q.environments = 3;
  EXPECT_THROW(ask(*crew.pilot, q), Error);
  CounterNoise noise(1);
  const auto planner = make_search(ctx, {}, {.horizon = kHorizon, .action_dim = kWidth}, {}, noise);
  Pilot fresh(ctx, crew.model, *planner, {.height = kSide, .width = kSide});
  q.environments = 1;
  EXPECT_THROW(ask(fresh, q), Error) << "no goal yet";
}

}  // namespace
}  // namespace orrery::lewm
