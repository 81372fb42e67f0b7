// The public interface with the shipped model.
#include "orrery/orrery.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

namespace orrery {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr int kSide = 64;

// something to look at: a square of its own place and colour
std::vector<std::uint8_t> pixels(int seed) {
  std::vector<std::uint8_t> rgb(static_cast<std::size_t>(kSide * kSide * 3), 230);
  for (int y = 10 * seed % 50; y < 10 * seed % 50 + 14; ++y) {
    for (int x = 17 * seed % 50; x < 17 * seed % 50 + 14; ++x) {
      rgb[static_cast<std::size_t>((y * kSide + x) * 3 + seed % 3)] = 20;
    }
  }
  return rgb;
}
Picture picture_of(const std::vector<std::uint8_t>& rgb) { return {rgb.data(), kSide, kSide}; }

PlanOptions small_options() {
  PlanOptions options;
  options.samples = 24;
  options.elites = 6;
  options.iterations = 3;
  options.horizon = 2;
  return options;
}

class WorldModelTest : public testing::Test {
 protected:
  WorldModel model_ = WorldModel(std::string(ORRERY_SOURCE_DIR) + "/models/tworoom", 1);
  const std::vector<std::uint8_t> now_ = pixels(1), first_ = pixels(2), second_ = pixels(4);

  std::string said(const std::function<void()>& action) {
    try {
      action();
    } catch (const std::exception& error) {
      return error.what();
    }
    return "accepted";
  }
};

TEST_F(WorldModelTest, ALatentIsAsGoodAGoalAsItsPicture) {
  const PlanOptions options = small_options();
  const PlannedActions by_picture = model_.plan(picture_of(now_), picture_of(first_), options);
  const std::vector<float> latent = model_.encode(picture_of(first_));
  const PlannedActions by_latent =
      model_.plan(picture_of(now_), std::vector<Goal>{{{}, latent}}, options);
  EXPECT_EQ(by_latent.actions, by_picture.actions);
  EXPECT_EQ(by_latent.cost, by_picture.cost);
  // and a picture is looked at anew after it
  EXPECT_EQ(model_.plan(picture_of(now_), picture_of(first_), options).actions, by_picture.actions);
}

TEST_F(WorldModelTest, SeveralGoalsAreGoneThroughInTheirOrder) {
  const PlanOptions options = small_options();
  const Goal first = {picture_of(first_), {}}, second = {picture_of(second_), {}};
  const PlannedActions one = model_.plan(picture_of(now_), {first}, options);
  const PlannedActions both = model_.plan(picture_of(now_), {first, second}, options);
  ASSERT_EQ(both.actions.size(), 2 * one.actions.size());
  EXPECT_TRUE(std::equal(one.actions.begin(), one.actions.end(), both.actions.begin()));
  ASSERT_THAT(both.goal_costs, SizeIs(2));
  EXPECT_EQ(both.goal_costs[0], one.cost);
  EXPECT_EQ(both.cost, both.goal_costs[0] + both.goal_costs[1]);

  // the second leg begins where the first leads, not at what is seen now
  const PlannedActions alone = model_.plan(picture_of(now_), {second}, options);
  EXPECT_NE(both.goal_costs[1], alone.cost);
  EXPECT_EQ(model_.plan(picture_of(now_), {first, second}, options).actions, both.actions);
}

TEST_F(WorldModelTest, TheObjectiveIsWhatWasAskedFor) {
  PlanOptions options = small_options();
  const auto cost = [&] { return model_.plan(picture_of(now_), picture_of(first_), options).cost; };
  const double sum = cost();
  options.goal_reduction = "mean";
  // one scale for all costs, so the same elites
  EXPECT_NEAR(cost() * model_.facts().latent_size, sum, 1e-5 * sum);
  options.goal_reduction = "sum";
  options.control_penalty = 0.5;
  EXPECT_GT(cost(), sum);

  // with a heavy penalty nothing is worth an action
  options.control_penalty = 1e6;
  options.iterations = 20;
  const PlannedActions still = model_.plan(picture_of(now_), picture_of(first_), options);
  options.control_penalty = 0;
  const PlannedActions moving = model_.plan(picture_of(now_), picture_of(first_), options);
  const auto effort = [&](const PlannedActions& plan) {
    double squares = 0;
    for (const auto& step : plan.actions) {
      for (const float a : step) squares += static_cast<double>(a) * static_cast<double>(a);
    }
    return squares;
  };
  EXPECT_LT(effort(still), 0.1 * effort(moving));
  options.goal_reduction = "most";
  EXPECT_THAT(said(cost), HasSubstr("\"most\", needed sum or mean"));
}

TEST_F(WorldModelTest, ATraceHasOneNumberPerIterationAndGoal) {
  PlanOptions options = small_options();
  const Goal first = {picture_of(first_), {}}, second = {picture_of(second_), {}};
  EXPECT_THAT(model_.plan(picture_of(now_), {first}, options).traces, SizeIs(0));
  options.trace = true;
  const PlannedActions plan = model_.plan(picture_of(now_), {first, second}, options);
  ASSERT_THAT(plan.traces, SizeIs(2));
  for (const auto& trace : plan.traces) {
    std::vector<std::string> names;
    for (const TraceValues& column : trace) {
      names.push_back(column.name);
      EXPECT_THAT(column.values, SizeIs(3)) << column.name;
    }
    EXPECT_THAT(names, ElementsAre("best_cost", "mean_cost", "elite_mean", "elite_min", "elite_max",
                                   "elite_spread", "spread", "mean_shift"));
  }
  EXPECT_EQ(static_cast<float>(plan.traces[1][2].values.back()),
            static_cast<float>(plan.goal_costs[1]))
      << "the mean cost of the last elites";
}

TEST_F(WorldModelTest, EveryPlannerThatSamplesCanBeAskedFor) {
  for (const char* name : {"cem", "icem", "mppi", "predictive-sampling", "categorical-cem"}) {
    for (const char* upstream : {"", "0.1.1", "later"}) {
      PlanOptions options = small_options();
      options.planner = name;
      options.upstream = upstream;
      options.categories = 5;
      const PlannedActions plan = model_.plan(picture_of(now_), picture_of(first_), options);
      EXPECT_TRUE(std::isfinite(plan.cost)) << name;
      // ten numbers a block are two choices among five
      EXPECT_EQ(plan.categories.size(), options.planner == "categorical-cem" ? 4u : 0u) << name;
    }
  }
}

TEST_F(WorldModelTest, SaysWhatIsWrong) {
  PlanOptions options = small_options();
  const auto goals = [&](const std::vector<Goal>& given) {
    return said([&] { model_.plan(picture_of(now_), given, options); });
  };
  EXPECT_THAT(goals({}), HasSubstr("no goals"));
  EXPECT_THAT(goals({{}}), HasSubstr("a goal without pixels"));
  EXPECT_THAT(goals({{{}, {1, 2, 3}}}), HasSubstr("goals are (1, 3)"));
  const std::vector<float> numbers = {1, 2, 3};
  const char* pictures = "an observation of 3 numbers came, the model sees pictures";
  EXPECT_THAT(goals({{.observation = numbers}}), HasSubstr(pictures));
  EXPECT_THAT(said([&] { model_.encode(numbers); }), HasSubstr(pictures));
  EXPECT_THAT(said([&] { model_.plan(numbers, {{.observation = numbers}}, options); }),
              HasSubstr(pictures));
  options.upstream = "0.2";
  EXPECT_THAT(goals({{picture_of(first_), {}}}), HasSubstr("upstream version is \"0.2\""));
  options = small_options();
  options.planner = "cma";
  EXPECT_THAT(goals({{picture_of(first_), {}}}), HasSubstr("planner is \"cma\""));
}

}  // namespace
}  // namespace orrery
