#include "plan/categories.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"
#include "ops/test_support.h"
#include "plan/categorical_cem.h"

namespace orrery {
namespace {

using namespace test;
using testing::ElementsAre;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> uniforms(i64 count, u64 stream) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (i64 i = 0; i < count; ++i) {
    values[static_cast<std::size_t>(i)] = uniform(3, stream, static_cast<u64>(i));
  }
  return values;
}

// chances that sum to 1 in every choice, the first category of every other choice impossible
std::vector<float> chances(i64 choices, i64 categories) {
  auto p = uniforms(choices * categories, 9);
  for (i64 j = 0; j < choices; ++j) {
    float* row = p.data() + j * categories;
    if (j % 2 == 1 && categories > 1) row[0] = 0;
    float sum = 0;
    for (i64 c = 0; c < categories; ++c) sum += row[c];
    for (i64 c = 0; c < categories; ++c) row[c] /= sum;
  }
  return p;
}

TEST_ON_EVERY_BACKEND(SampleCategories, IsTheFormula) {
  const i64 group = 2, samples = 41, horizon = 3, choices = 2;
  for (const i64 categories : {1, 2, 9, 33}) {
    const i64 dim = choices * categories, width = horizon * dim;
    auto u = uniforms(group * samples * width, 1);
    u[static_cast<std::size_t>(width)] = 0;  // a draw whose logarithm would be infinite
    const auto p = chances(group * horizon * choices, categories);
    Buffer<float> candidates(ctx, u), probabilities(ctx, p);
    const auto there = candidates.view<4>({group, samples, horizon, dim});
    // in place, as planners do
    sample_categories<float>(ctx, there, probabilities.view<3>({group, horizon, dim}), categories,
                             there);
    const auto mine = candidates.values();
    for (i64 row = 0; row < group * samples; ++row) {
      for (i64 j = 0; j < horizon * choices; ++j) {
        i64 best = -1;
        double highest = 0;
        for (i64 c = 0; c < categories; ++c) {
          const double chance = static_cast<double>(
              p[static_cast<std::size_t>(row / samples * width + j * categories + c)]);
          const double draw =
              static_cast<double>(u[static_cast<std::size_t>(row * width + j * categories + c)]);
          const double score = row % samples == 0 ? chance
                                                  : std::log(std::max(chance, 1e-10)) -
                                                        std::log(-std::log(std::max(draw, 1e-10)));
          if (best < 0 || score > highest) {
            best = c;
            highest = score;
          }
        }
        for (i64 c = 0; c < categories; ++c) {
          ASSERT_EQ(mine[static_cast<std::size_t>(row * width + j * categories + c)],
                    c == best ? 1.0f : 0.0f)
              << categories << " categories, row " << row << ", choice " << j;
        }
      }
    }
  }
}

TEST(SampleCategories, DrawsEveryCategoryAsOftenAsItsChance) {
  Context ctx({.threads = 2});
  const i64 samples = 20001;
  const std::vector<float> p = {0.1f, 0.0f, 0.6f, 0.3f};
  auto candidates = uniforms(samples * 4, 5);
  const View<float, 4> there(candidates.data(), {1, samples, 1, 4});
  sample_categories<float>(ctx, there, {p.data(), {1, 1, 4}}, 4, there);
  for (i64 c = 0; c < 4; ++c) {
    double count = 0;
    for (i64 s = 1; s < samples; ++s) count += static_cast<double>(there(0, s, 0, c));
    // four times the standard deviation of a share of 20,000 draws
    EXPECT_NEAR(count / 20000, p[static_cast<std::size_t>(c)], 4 * std::sqrt(0.25 / 20000));
  }
}

// four candidates of one choice among three categories, with the given costs, best first
struct Fitted {
  std::vector<float> p, std, cost, answer;
};
Fitted fitted(Context& ctx, const std::vector<float>& costs, const CategoryRule& rule) {
  Buffer<float> x(ctx, std::vector<float>{0, 0, 1, 0, 1, 0, 0, 0, 1, 1, 0, 0});
  Buffer<float> cost(ctx, costs), p(ctx, std::vector<float>{0.2f, 0.5f, 0.3f}), std(ctx, 3),
      mean_cost(ctx, 1), answer(ctx, 3);
  Buffer<i32> order(ctx, std::vector<i32>{0, 1, 2, 3});
  fit_categories<float>(ctx, {x.view<4>({1, 4, 1, 3}), cost.rows(4), order.rows(4)}, rule,
                        {p.view<3>({1, 1, 3}), std.view<3>({1, 1, 3}), mean_cost.flat(),
                         answer.view<4>({1, 1, 1, 3})});
  return {p.values(), std.values(), mean_cost.values(), answer.values()};
}

TEST_ON_EVERY_BACKEND(FitCategories, CountsSmoothsAndKeepsAShare) {
  Fitted plain = fitted(ctx, {1, 2, 3, 6}, {.categories = 3});
  EXPECT_THAT(plain.p, ElementsAre(0.25f, 0.25f, 0.5f));
  EXPECT_THAT(plain.answer, ElementsAre(0, 0, 1));
  EXPECT_THAT(plain.cost, ElementsAre(3));
  EXPECT_EQ(plain.std[2], 0.5f);

  // (0.25 + 0.5, 0.25 + 0.5, 0.5 + 0.5) / 2.5, and half of what was
  const Fitted blended =
      fitted(ctx, {1, 2, 3, 6}, {.categories = 3, .smoothing = 0.5, .momentum = 0.5});
  const double needed[] = {0.25, 0.4, 0.35};
  for (std::size_t c = 0; c < 3; ++c) EXPECT_NEAR(blended.p[c], needed[c], 1e-7);
  EXPECT_THAT(blended.answer, ElementsAre(0, 1, 0));
}

TEST_ON_EVERY_BACKEND(FitCategories, ANanIsNoEliteUnlessAsReleased) {
  const std::vector<float> some = {1, 2, kNan, kNan};
  Fitted learned = fitted(ctx, some, {.categories = 3});
  EXPECT_THAT(learned.p, ElementsAre(0, 0.5f, 0.5f));
  EXPECT_THAT(learned.answer, ElementsAre(0, 1, 0)) << "of equals the first";
  EXPECT_THAT(learned.cost, ElementsAre(1.5f));

  learned = fitted(ctx, some, {.categories = 3, .nan = NanCosts::as_released});
  EXPECT_THAT(learned.p, ElementsAre(0.25f, 0.25f, 0.5f));
  EXPECT_TRUE(std::isnan(learned.cost[0]));

  learned = fitted(ctx, {kNan, kNan, kNan, kNan}, {.categories = 3, .smoothing = 1});
  EXPECT_THAT(learned.p, ElementsAre(0.2f, 0.5f, 0.3f)) << "nothing is known, so nothing changes";
  EXPECT_THAT(learned.answer, ElementsAre(0, 1, 0));
  EXPECT_TRUE(std::isnan(learned.cost[0]));
}

TEST(Categories, SayWhatDoesNotFit) {
  Context ctx({.threads = 1});
  std::vector<float> numbers(12);
  const View<float, 4> x(numbers.data(), {1, 2, 1, 6});
  const View<float, 3> p(numbers.data(), {1, 1, 6});
  EXPECT_NO_THROW(sample_categories<float>(ctx, x, p, 3, x));
  EXPECT_THROW(sample_categories<float>(ctx, x, p, 4, x), Error);
  EXPECT_THROW(sample_categories<float>(ctx, x, p.slice(2, 0, 3), 3, x), Error);
  EXPECT_THAT(categories_of({numbers.data(), {2, 6}}, 3), ElementsAre(0, 0, 0, 0));
  EXPECT_THROW(categories_of({numbers.data(), {2, 6}}, 4), Error);
}

// A game whose best move is known: every choice that is not category t mod 3 costs 1.
class Lock final : public Dynamics {
 public:
  i64 environments() const override { return 2; }
  i64 action_dim() const override { return 6; }
  void rollout_cost(Context&, i64 first, View<const float, 4> x, View<float, 2> cost) override {
    for (i64 e = 0; e < x.size(0); ++e) {
      for (i64 s = 0; s < x.size(1); ++s) {
        float wrong = 0;
        for (i64 t = 0; t < x.size(2); ++t) {
          for (i64 j = 0; j < 2; ++j) wrong += 1 - x(e, s, t, j * 3 + (t + j + first + e) % 3);
        }
        cost(e, s) = wrong;
      }
    }
  }
};

TEST(CategoricalCem, FindsTheCombinationOfALock) {
  Context ctx({.threads = 2});
  CounterNoise noise(3);
  const i64 horizon = 5;
  CategoricalCem planner(ctx,
                         {.categories = 3,
                          .samples = 100,
                          .elites = 10,
                          .iterations = 12,
                          .smoothing = 0.01,
                          .momentum = 0.1},
                         {.environments = 2, .horizon = horizon, .action_dim = 6}, noise);
  Lock lock;
  std::vector<float> actions(static_cast<std::size_t>(2 * horizon * 6)), cost(2);
  planner.plan(ctx, lock, {}, {{actions.data(), {2, horizon, 6}}, {cost.data(), {2}}, {}});
  for (i64 e = 0; e < 2; ++e) {
    const auto chosen = categories_of({actions.data() + e * horizon * 6, {horizon, 6}}, 3);
    for (i64 i = 0; i < 2 * horizon; ++i) {
      EXPECT_EQ(chosen[static_cast<std::size_t>(i)], (i / 2 + i % 2 + e) % 3) << e << ", " << i;
    }
  }
}

}  // namespace
}  // namespace orrery
