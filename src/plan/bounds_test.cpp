#include "plan/bounds.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "plan/choice.h"
#include "plan/point_mass.h"

namespace orrery {
namespace {

using testing::ElementsAre;

const ActionScale kScale = {.mean = {0.5, -1}, .std = {0.25, 2}};

TEST(ActionBounds, AreZScoredAndRepeatedForEveryStep) {
  const ActionBounds bounds = action_bounds({-1, -2}, {1, 3}, kScale, 2);
  EXPECT_THAT(bounds.low, ElementsAre(-6, -0.5, -6, -0.5));
  EXPECT_THAT(bounds.high, ElementsAre(2, 2, 2, 2));
}

TEST(ActionBounds, AreTakenAsTheyAreWhereAsked) {
  const ActionBounds bounds = action_bounds({-1, -2}, {1, 3}, kScale, 2, BoundScale::none);
  EXPECT_THAT(bounds.low, ElementsAre(-1, -2, -1, -2));
  EXPECT_THAT(bounds.high, ElementsAre(1, 3, 1, 3));
  EXPECT_THAT(action_bounds({-1}, {1}, {}, 2).low, ElementsAre(-1, -1));
}

TEST(ActionBounds, SayWhatIsWrong) {
  EXPECT_THROW(action_bounds({1}, {-1}, {}, 1), Error);
  EXPECT_THROW(action_bounds({std::nan("")}, {1}, {}, 1), Error);
  EXPECT_THROW(action_bounds({-1, -1}, {1}, {}, 1), Error);
  EXPECT_THROW(action_bounds({-1}, {1}, kScale, 1), Error);
  EXPECT_THROW(action_bounds({-1}, {1}, {}, 0), Error);
  EXPECT_THROW(action_bounds({-1}, {1}, {.mean = {0}, .std = {0}}, 1), Error);
}

// largest candidate of each number of a block, over a whole plan
std::vector<float> reached(PlannerChoice choice, const ActionScale& scale) {
  Context ctx({.threads = 1});
  CounterNoise noise(1);
  // a goal far away: candidates press against the limit
  const PointMass<float>::World far = {{0, 0}, {100, 100}};
  PointMass<float> world({far});
  choice.samples = 50;
  choice.elites = 5;
  choice.iterations = 10;
  const auto planner = make_search(ctx, choice, {.horizon = 3, .action_dim = 2}, scale, noise);
  std::vector<float> most(2, 0.0f);
  planner->observe([&](const SearchIteration<float>& seen) {
    for (i64 i = 0; i < seen.candidates.numel(); ++i) {
      float& value = most[static_cast<std::size_t>(i % 2)];
      value = std::max(value, seen.candidates.data()[i]);
    }
  });
  std::vector<float> actions(6);
  planner->plan(ctx, world, {}, {.actions = {actions.data(), {1, 3, 2}}, .cost = {}, .std = {}});
  return most;
}

TEST(ActionBounds, HoldEveryCandidate) {
  PlannerChoice choice;
  choice.name = "icem";
  EXPECT_THAT(reached(choice, kScale), ElementsAre(2, 1));
  EXPECT_THAT(reached(choice, {}), ElementsAre(1, 1));
  choice.bound_scale = BoundScale::none;
  EXPECT_THAT(reached(choice, kScale), ElementsAre(1, 1));
  choice.name = "mppi";
  choice.bound_scale = BoundScale::action;
  EXPECT_GT(reached(choice, kScale)[0], 2);
  choice.action_limit = 0.75;
  EXPECT_THAT(reached(choice, kScale), ElementsAre(1, 0.875));
}

}  // namespace
}  // namespace orrery
