#include "plan/cem.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "plan/point_mass.h"
#include "tests/allocations/counter.h"

namespace orrery {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

PointMass<float> three_worlds() {
  return PointMass<float>({{{0, 0}, {2, -1}}, {{1, 1}, {-3, 4}}, {{0.5f, -0.5f}, {0.5f, -0.5f}}});
}

struct Answer {
  std::vector<float> actions;
  std::vector<float> cost;
  std::vector<float> std;
};

Answer plan_with(Context& ctx, Cem& cem, Dynamics& dynamics, PlanRequest request = {}) {
  const i64 count = dynamics.environments();
  const View<float, 3>::Sizes sizes = {count, cem.horizon(), cem.action_dim()};
  const auto numbers = static_cast<std::size_t>(count * cem.horizon() * cem.action_dim());
  Answer answer = {std::vector<float>(numbers), std::vector<float>(static_cast<std::size_t>(count)),
                   std::vector<float>(numbers)};
  cem.plan(ctx, dynamics, request,
           {.actions = {answer.actions.data(), sizes},
            .cost = {answer.cost.data(), {count}},
            .std = {answer.std.data(), sizes}});
  return answer;
}

// costs come from a list, in call order; candidates are only counted
class ScriptedCosts final : public Dynamics {
 public:
  ScriptedCosts(std::vector<std::vector<float>> costs, i64 dim)
      : costs_(std::move(costs)), dim_(dim) {}
  i64 environments() const override { return 1; }
  i64 action_dim() const override { return dim_; }
  void rollout_cost(Context&, i64, View<const float, 4>, View<float, 2> cost) override {
    for (i64 s = 0; s < cost.size(1); ++s) {
      cost(0, s) = costs_.at(call_)[static_cast<std::size_t>(s)];
    }
    ++call_;
  }

 private:
  std::vector<std::vector<float>> costs_;
  i64 dim_;
  std::size_t call_ = 0;
};

// elites of one iteration with the given costs
std::vector<i32> elites_for(const std::vector<float>& costs, i64 elites, float* cost = nullptr) {
  Context ctx({.threads = 1});
  CounterNoise noise(1);
  const i64 samples = static_cast<i64>(costs.size());
  Cem cem(ctx, {.samples = samples, .elites = elites, .iterations = 1},
          {.environments = 1, .horizon = 1, .action_dim = 1}, noise);
  std::vector<i32> order;
  cem.observe([&](const SearchIteration<float>& seen) {
    for (i64 k = 0; k < elites; ++k) order.push_back(seen.elites(0, k));
  });
  ScriptedCosts dynamics({costs}, 1);
  const Answer answer = plan_with(ctx, cem, dynamics);
  if (cost != nullptr) *cost = answer.cost[0];
  return order;
}

TEST(Cem, FindsTheBestPlanOfAPointMass) {
  Context ctx({.threads = 2});
  CounterNoise noise(3);
  auto world = three_worlds();
  Cem cem(ctx, {.samples = 300, .elites = 30, .iterations = 20},
          {.environments = 3, .horizon = 3, .action_dim = 2}, noise);
  const Answer answer = plan_with(ctx, cem, world);
  for (i64 e = 0; e < 3; ++e) {
    // six times the worst of 20 seeds: 1.6e-4 in an action, 5e-10 in cost
    EXPECT_NEAR(answer.cost[static_cast<std::size_t>(e)], world.best_cost(e, 3), 1e-6) << e;
    for (i64 i = 0; i < 6; ++i) {
      EXPECT_NEAR(answer.actions[static_cast<std::size_t>(e * 6 + i)],
                  world.best_action(e, 3, i % 2), 1e-3)
          << e << ", " << i;
    }
  }
}

TEST(Cem, OneIterationIsTheFormula) {
  Context ctx({.threads = 1});
  // two blocks of one number; five samples, the noise of sample 0 is not used
  const std::vector<float> eps = {9, 9, 1, -1, 2, 0.5f, -1, 3, 0.25f, 0.75f};
  RecordedNoise noise;
  noise.push(Tensor::of<float>({1, 5, 2, 1}, eps));
  noise.push(Tensor::of<float>({1, 5, 2, 1}, eps));
  const std::vector<float> warm = {10, 20};

  for (const EliteStd convention : {EliteStd::sample, EliteStd::population}) {
    ScriptedCosts dynamics({{0.5f, 4, 0.25f, 3, 2}}, 1);
    Cem cem(
        ctx,
        {.samples = 5, .elites = 3, .iterations = 1, .initial_std = 2.0, .elite_std = convention},
        {.environments = 1, .horizon = 2, .action_dim = 1}, noise);
    const Answer answer =
        plan_with(ctx, cem, dynamics, {.warm_start = {warm.data(), {1, 2, 1}}, .keys = {}});

    // elites 2, 0, 4: (14, 21), (10, 20), (10.5, 21.5)
    EXPECT_THAT(answer.actions, ElementsAre(11.5f, testing::FloatEq(62.5f / 3)));
    EXPECT_FLOAT_EQ(answer.cost[0], 2.75f / 3);
    const float divisor = convention == EliteStd::sample ? 2 : 3;
    EXPECT_FLOAT_EQ(answer.std[0], std::sqrt((2.5f * 2.5f + 1.5f * 1.5f + 1) / divisor));
  }
}

TEST(Cem, ThreadsAndGroupingDoNotChangeThePlan) {
  CounterNoise noise(9);
  std::vector<Answer> answers;
  for (const int threads : {1, 2, 3}) {
    for (const i64 batch : {1, 2, 0}) {
      Context ctx({.threads = threads});
      auto world = three_worlds();
      Cem cem(ctx, {.samples = 130, .elites = 13, .iterations = 4, .batch_size = batch},
              {.environments = 3, .horizon = 3, .action_dim = 2}, noise);
      answers.push_back(plan_with(ctx, cem, world));
      EXPECT_EQ(world.calls(), 4 * (batch == 0 ? 1 : batch == 1 ? 3 : 2));
    }
  }
  for (const Answer& other : answers) {
    EXPECT_EQ(other.actions, answers[0].actions);
    EXPECT_EQ(other.cost, answers[0].cost);
    EXPECT_EQ(other.std, answers[0].std);
  }
}

TEST(Cem, AKeyDrawsTheSameWhoeverIsPlannedBesideIt) {
  Context ctx({.threads = 1});
  CounterNoise noise(9);
  Cem cem(ctx, {.samples = 50, .elites = 5, .iterations = 3},
          {.environments = 3, .horizon = 3, .action_dim = 2}, noise);
  auto all = three_worlds();
  const PointMass<float>::World third = {{0.5f, -0.5f}, {0.5f, -0.5f}};
  PointMass<float> last(std::vector{third});
  const std::vector<PlanKey> keys = {{2, 0}};
  const Answer together = plan_with(ctx, cem, all);
  const Answer alone = plan_with(ctx, cem, last, {.warm_start = {}, .keys = keys});
  EXPECT_TRUE(
      std::equal(alone.actions.begin(), alone.actions.end(), together.actions.begin() + 12));
  const std::vector<PlanKey> later = {{2, 1}};
  EXPECT_NE(plan_with(ctx, cem, last, {.warm_start = {}, .keys = later}).actions, alone.actions);
}

TEST(Cem, AllocatesNothingWhilePlanning) {
  Context ctx({.threads = 2});
  CounterNoise noise(2);
  auto world = three_worlds();
  Cem cem(ctx, {.samples = 64, .elites = 8, .iterations = 3, .batch_size = 2},
          {.environments = 3, .horizon = 3, .action_dim = 2}, noise);
  i64 seen = 0;
  cem.observe([&seen](const SearchIteration<float>&) { ++seen; });
  std::vector<float> actions(18), cost(3), warm(12);
  const PlanRequest request = {.warm_start = {warm.data(), {3, 2, 2}}, .keys = {}};
  const PlanResult result = {
      .actions = {actions.data(), {3, 3, 2}}, .cost = {cost.data(), {3}}, .std = {}};

  const i64 before = allocations();
  cem.plan(ctx, world, request, result);
  EXPECT_EQ(allocations(), before);
  EXPECT_EQ(seen, 6);
}

// proposes block number + environment / 10, and remembers the prefix it saw
class Proposing final : public Dynamics {
 public:
  i64 environments() const override { return 2; }
  i64 action_dim() const override { return 1; }
  void rollout_cost(Context&, i64 first, View<const float, 4> actions,
                    View<float, 2> cost) override {
    for (i64 t = 0; t < actions.size(2); ++t) {
      starts[static_cast<std::size_t>(first)].push_back(actions(0, 0, t, 0));
    }
    for (i64 s = 0; s < cost.size(1); ++s) cost(0, s) = 0;
  }
  void propose(Context&, i64 first, View<const float, 3> prefix, View<float, 3> tail) override {
    for (i64 e = 0; e < tail.size(0); ++e) {
      for (i64 t = 0; t < tail.size(1); ++t) {
        tail(e, t, 0) =
            static_cast<float>(prefix.size(1) + t) + static_cast<float>(first + e) / 10.0f;
      }
    }
    proposals += 1;
  }
  std::vector<float> starts[2];
  int proposals = 0;
};

TEST(Cem, AProposalFillsWhatTheWarmStartLeavesOpen) {
  Context ctx({.threads = 1});
  CounterNoise noise(2);
  Cem cem(ctx, {.samples = 4, .elites = 2, .iterations = 1},
          {.environments = 2, .horizon = 3, .action_dim = 1}, noise);
  const std::vector<float> warm = {7, 8, 9, 5, 6, 4};

  Proposing partial;
  plan_with(ctx, cem, partial, {.warm_start = {warm.data(), {2, 1, 1}}, .keys = {}});
  EXPECT_THAT(partial.starts[0], ElementsAre(7, 1, 2));
  EXPECT_THAT(partial.starts[1], ElementsAre(8, 1.1f, 2.1f));

  Proposing cold;
  plan_with(ctx, cem, cold);
  EXPECT_THAT(cold.starts[1], ElementsAre(0.1f, 1.1f, 2.1f));

  Proposing full;
  plan_with(ctx, cem, full, {.warm_start = {warm.data(), {2, 3, 1}}, .keys = {}});
  EXPECT_THAT(full.starts[0], ElementsAre(7, 8, 9));
  EXPECT_THAT(full.starts[1], ElementsAre(5, 6, 4));
  EXPECT_EQ(full.proposals, 0);
}

TEST(Cem, RanksLowestFirstThenByNumberThenNan) {
  EXPECT_THAT(elites_for({3, 1, 2, 1, 1}, 4), ElementsAre(1, 3, 4, 2));
  EXPECT_THAT(elites_for({kNan, 2, kNan, 1, kInf}, 4), ElementsAre(3, 1, 4, 0));
  EXPECT_THAT(elites_for({kNan, kNan, 5}, 3), ElementsAre(2, 0, 1));
  EXPECT_THAT(elites_for({0, -kInf, -0.0f}, 3), ElementsAre(1, 0, 2));
  float cost = 0;
  elites_for({kNan, 2, kNan, 1}, 2, &cost);
  EXPECT_EQ(cost, 1.5f);
  elites_for({kNan, 2, kNan, 1}, 3, &cost);
  EXPECT_EQ(cost, 1.5f) << "of those that have one";
  elites_for({kNan, kNan, kNan, kNan}, 3, &cost);
  EXPECT_TRUE(std::isnan(cost));
}

TEST(Cem, OneEliteKeepsTheFirstBestOrStandsStill) {
  Context ctx({.threads = 1});
  CounterNoise noise(4);
  auto world = three_worlds();
  Cem once(ctx, {.samples = 30, .elites = 1, .iterations = 1},
           {.environments = 3, .horizon = 2, .action_dim = 2}, noise);
  const Answer best = plan_with(ctx, once, world);
  for (const EliteStd convention : {EliteStd::sample, EliteStd::population}) {
    Cem more(ctx, {.samples = 30, .elites = 1, .iterations = 3, .elite_std = convention},
             {.environments = 3, .horizon = 2, .action_dim = 2}, noise);
    const Answer answer = plan_with(ctx, more, world);
    EXPECT_EQ(answer.actions, best.actions);
    EXPECT_EQ(answer.cost, best.cost);
    EXPECT_EQ(std::isnan(answer.std[0]), convention == EliteStd::sample);
  }
}

TEST(Cem, TheObserverSeesEveryIteration) {
  Context ctx({.threads = 2});
  CounterNoise noise(4);
  auto world = three_worlds();
  Cem cem(ctx, {.samples = 40, .elites = 4, .iterations = 5, .batch_size = 2},
          {.environments = 3, .horizon = 2, .action_dim = 2}, noise);
  std::vector<std::pair<i64, i64>> calls;
  std::vector<float> before(12, 0.0f);
  cem.observe([&](const SearchIteration<float>& seen) {
    calls.push_back({seen.first_environment, seen.iteration});
    for (i64 e = 0; e < seen.mean.size(0); ++e) {
      const auto& figures = seen.figures[e];
      // recomputed from the views by plain loops
      double all = 0, elites = 0, shift = 0, spread = 0;
      float lowest = kInf;
      for (i64 s = 0; s < 40; ++s) {
        all += seen.costs(e, s);
        lowest = std::min(lowest, seen.costs(e, s));
      }
      for (i64 k = 0; k < 4; ++k) elites += seen.costs(e, seen.elites(e, k));
      for (i64 t = 0; t < 2; ++t) {
        for (i64 d = 0; d < 2; ++d) {
          float& old =
              before[static_cast<std::size_t>((seen.first_environment + e) * 4 + t * 2 + d)];
          shift += std::pow(static_cast<double>(seen.mean(e, t, d)) - old, 2);
          spread += seen.std(e, t, d);
          old = seen.mean(e, t, d);
        }
      }
      EXPECT_EQ(figures.best_cost, lowest);
      EXPECT_EQ(figures.elite_min, lowest);
      EXPECT_EQ(figures.elite_max, seen.costs(e, seen.elites(e, 3)));
      EXPECT_NEAR(figures.mean_cost, all / 40, 1e-5 * all);
      EXPECT_NEAR(figures.elite_mean, elites / 4, 1e-5 * elites);
      EXPECT_NEAR(figures.mean_shift, std::sqrt(shift), 1e-5);
      EXPECT_NEAR(figures.std_mean, spread / 4, 1e-5);
      // std here is the elites' own
      EXPECT_NEAR(figures.elite_spread, figures.std_mean, 1e-5);
    }
  });
  plan_with(ctx, cem, world);
  ASSERT_EQ(calls.size(), 10u);
  EXPECT_EQ(calls.front(), std::make_pair(i64{0}, i64{0}));
  EXPECT_EQ(calls.back(), std::make_pair(i64{2}, i64{4}));
}

TEST(Cem, SaysWhatIsWrongWithItsConfiguration) {
  Context ctx({.threads = 1});
  CounterNoise noise(1);
  const auto made = [&](CemConfig config, PlanSizes sizes) {
    try {
      Cem cem(ctx, config, sizes, noise);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(made({}, {}), "accepted");
  EXPECT_THAT(made({.samples = 0}, {}), HasSubstr("0 samples"));
  EXPECT_THAT(made({.samples = 8, .elites = 9}, {}), HasSubstr("9 elites of 8 samples"));
  EXPECT_THAT(made({.elites = 0}, {}), HasSubstr("0 elites"));
  EXPECT_THAT(made({.iterations = 0}, {}), HasSubstr("0 iterations"));
  EXPECT_THAT(made({.initial_std = -1}, {}), HasSubstr("-1"));
  EXPECT_THAT(made({.initial_std = kNan}, {}), HasSubstr("nan"));
  EXPECT_THAT(made({.batch_size = -1}, {}), HasSubstr("-1"));
  EXPECT_THAT(made({}, {.horizon = 0}), HasSubstr("horizon 0"));
  EXPECT_THAT(made({}, {.environments = 0}), HasSubstr("0 environments"));
  EXPECT_THAT(made({}, {.action_dim = 0}), HasSubstr("action width 0"));
}

TEST(Cem, SaysWhatDoesNotFit) {
  Context ctx({.threads = 1});
  CounterNoise noise(1);
  auto world = three_worlds();
  std::vector<float> numbers(100);
  const PlanResult good = {.actions = {numbers.data(), {3, 2, 2}}, .cost = {}, .std = {}};
  const PlanSizes sizes = {.environments = 3, .horizon = 2, .action_dim = 2};

  Cem cem(ctx, {.samples = 4, .elites = 2, .iterations = 1}, sizes, noise);
  EXPECT_NO_THROW(cem.plan(ctx, world, {}, good));
  EXPECT_THROW(cem.plan(ctx, world, {}, {}), Error);
  EXPECT_THROW(
      cem.plan(ctx, world, {}, {.actions = {numbers.data(), {3, 3, 2}}, .cost = {}, .std = {}}),
      Error);
  EXPECT_THROW(cem.plan(ctx, world, {.warm_start = {numbers.data(), {3, 3, 2}}, .keys = {}}, good),
               Error);
  const std::vector<PlanKey> keys(2);
  EXPECT_THROW(cem.plan(ctx, world, {.warm_start = {}, .keys = keys}, good), Error);

  Cem few(ctx, {.samples = 4, .elites = 2, .iterations = 1},
          {.environments = 2, .horizon = 2, .action_dim = 2}, noise);
  EXPECT_THROW(few.plan(ctx, world, {}, good), Error);
  Cem wide(ctx, {.samples = 4, .elites = 2, .iterations = 1},
           {.environments = 3, .horizon = 2, .action_dim = 3}, noise);
  EXPECT_THROW(wide.plan(ctx, world, {}, good), Error);
}

}  // namespace
}  // namespace orrery
