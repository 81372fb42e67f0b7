#include "plan/elites.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using test::Buffer;
using testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random(u64 stream, i64 count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  fill_normal(5, stream, 0, count, values.data());
  return values;
}

std::vector<i32> lowest(Context& ctx, const std::vector<float>& costs, i64 count) {
  const auto samples = static_cast<i64>(costs.size());
  Buffer<float> from(ctx, costs);
  Buffer<i32> order(ctx, samples);
  lowest_costs<float>(ctx, from.rows(samples), count, order.rows(samples));
  auto found = order.values();
  found.resize(static_cast<std::size_t>(count));
  return found;
}

TEST_ON_EVERY_BACKEND(LowestCosts, AreFirstThenByNumberThenNan) {
  EXPECT_THAT(lowest(ctx, {3, 1, 2, 1, 1}, 4), ElementsAre(1, 3, 4, 2));
  EXPECT_THAT(lowest(ctx, {kNan, 2, kNan, 1, kInf}, 4), ElementsAre(3, 1, 4, 0));
  EXPECT_THAT(lowest(ctx, {kNan, kNan, 5}, 3), ElementsAre(2, 0, 1));
  EXPECT_THAT(lowest(ctx, {-kNan, kInf, kNan, -1}, 4), ElementsAre(3, 1, 0, 2));
  EXPECT_THAT(lowest(ctx, {0, -kInf, -0.0f}, 3), ElementsAre(1, 0, 2));
  EXPECT_THAT(lowest(ctx, {-1, -2, 1e-45f, -1e-45f, 0}, 5), ElementsAre(1, 0, 3, 4, 2));
  EXPECT_THAT(lowest(ctx, {4}, 1), ElementsAre(0));
}

TEST_ON_EVERY_BACKEND(LowestCosts, AreThoseOfAStableSort) {
  for (const i64 samples : {31, 32, 33, 255, 256, 257, 1024, 3000}) {
    const i64 group = 3, count = std::min<i64>(samples, samples / 4 + 1);
    auto costs = random(static_cast<u64>(samples), group * samples);
    // many ties
    for (float& cost : costs) cost = std::round(cost * 8) / 8;
    Buffer<float> from(ctx, costs);
    Buffer<i32> order(ctx, group * samples);
    lowest_costs<float>(ctx, from.rows(samples), count, order.rows(samples));
    const auto mine = order.values();
    for (i64 e = 0; e < group; ++e) {
      std::vector<i32> sorted(static_cast<std::size_t>(samples));
      std::iota(sorted.begin(), sorted.end(), 0);
      const float* row = costs.data() + e * samples;
      std::stable_sort(sorted.begin(), sorted.end(), [&](i32 a, i32 b) { return row[a] < row[b]; });
      for (i64 k = 0; k < count; ++k) {
        ASSERT_EQ(mine[static_cast<std::size_t>(e * samples + k)],
                  sorted[static_cast<std::size_t>(k)])
            << samples << " samples, environment " << e << ", elite " << k;
      }
    }
  }
}

// candidates, costs and elites of three environments; some elites are far apart
struct Field {
  Field(Context& ctx, i64 of_samples, i64 of_elites, i64 blocks, i64 numbers)
      : group(3), samples(of_samples), elites(of_elites), horizon(blocks), dim(numbers) {
    x = random(1, group * samples * width());
    cost = random(2, group * samples);
    for (i64 e = 0; e < group; ++e) {
      for (i64 k = 0; k < samples; ++k) {
        order.push_back(static_cast<i32>((k * 7 + e) % samples));
      }
    }
    candidates = std::make_unique<Buffer<float>>(ctx, x);
    costs = std::make_unique<Buffer<float>>(ctx, cost);
    orders = std::make_unique<Buffer<i32>>(ctx, order);
  }
  i64 width() const { return horizon * dim; }
  Elites<float> views() {
    return {candidates->view<4>({group, samples, horizon, dim}), costs->rows(samples),
            orders->rows(samples).slice(1, 0, elites)};
  }
  i32 elite(i64 e, i64 k) const { return order[static_cast<std::size_t>(e * samples + k)]; }
  double value(i64 e, i64 k, i64 i) const {
    return x[static_cast<std::size_t>((e * samples + elite(e, k)) * width() + i)];
  }
  double cost_of(i64 e, i64 k) const {
    return cost[static_cast<std::size_t>(e * samples + elite(e, k))];
  }

  i64 group, samples, elites, horizon, dim;
  std::vector<float> x, cost;
  std::vector<i32> order;
  std::unique_ptr<Buffer<float>> candidates, costs;
  std::unique_ptr<Buffer<i32>> orders;
};

TEST_ON_EVERY_BACKEND(FitElites, IsTheFormula) {
  // 7 and 50 numbers: less than a warp, and a tile and a half
  for (const i64 dim : {1, 7, 50}) {
    for (const i64 elites : {2, 9, 300}) {
      for (const FitRule& rule : {FitRule{}, FitRule{EliteStd::population, 0.1, 0.0},
                                  FitRule{EliteStd::sample, 0.5, 1.02}}) {
        Field field(ctx, 311, elites, 1, dim);
        const i64 width = field.width(), kept = 2;
        const auto mean = random(3, 3 * width), std = random(4, 3 * width);
        Buffer<float> means(ctx, mean), stds(ctx, std), cost(ctx, 3), best(ctx, 3),
            keep(ctx, 3 * kept * width);
        fit_elites<float>(ctx, field.views(), rule,
                          {means.view<3>({3, 1, dim}), stds.view<3>({3, 1, dim}), cost.flat(),
                           best.flat(), keep.view<4>({3, kept, 1, dim})});
        const auto m = means.values(), s = stds.values(), c = cost.values(), b = best.values(),
                   k0 = keep.values();
        for (i64 e = 0; e < 3; ++e) {
          double cost_sum = 0;
          for (i64 k = 0; k < elites; ++k) cost_sum += field.cost_of(e, k);
          const auto at_e = static_cast<std::size_t>(e);
          EXPECT_NEAR(c[at_e], cost_sum / static_cast<double>(elites), 1e-7);
          EXPECT_EQ(b[at_e], static_cast<float>(field.cost_of(e, 0)));
          for (i64 i = 0; i < width; ++i) {
            double sum = 0, squares = 0;
            for (i64 k = 0; k < elites; ++k) sum += field.value(e, k, i);
            const double centre = sum / static_cast<double>(elites);
            for (i64 k = 0; k < elites; ++k) {
              squares += std::pow(field.value(e, k, i) - centre, 2);
            }
            const double divisor =
                static_cast<double>(elites) - (rule.elite_std == EliteStd::sample ? 1 : 0);
            const auto at = static_cast<std::size_t>(e * width + i);
            // sums in double, rounded once
            EXPECT_NEAR(m[at], rule.momentum * mean[at] + (1 - rule.momentum) * centre, 2e-7);
            EXPECT_NEAR(s[at],
                        std::max(rule.momentum * std[at] +
                                     (1 - rule.momentum) * std::sqrt(squares / divisor),
                                 rule.min_std),
                        2e-7);
            for (i64 k = 0; k < kept; ++k) {
              EXPECT_EQ(k0[static_cast<std::size_t>((e * kept + k) * width + i)],
                        static_cast<float>(field.value(e, k, i)));
            }
          }
        }
      }
    }
  }
}

TEST_ON_EVERY_BACKEND(FitElites, OneEliteHasNoSampleStd) {
  for (const EliteStd convention : {EliteStd::sample, EliteStd::population}) {
    Field field(ctx, 5, 1, 2, 2);
    Buffer<float> mean(ctx, 12), std(ctx, 12), cost(ctx, 3), best(ctx, 3);
    fit_elites<float>(
        ctx, field.views(), {.elite_std = convention, .min_std = 0.25},
        {mean.view<3>({3, 2, 2}), std.view<3>({3, 2, 2}), cost.flat(), best.flat(), {}});
    EXPECT_EQ(mean.values()[0], static_cast<float>(field.value(0, 0, 0)));
    if (convention == EliteStd::sample) {
      EXPECT_TRUE(std::isnan(std.values()[0]));
    } else {
      EXPECT_EQ(std.values()[0], 0.25f);
    }
  }
}

TEST_ON_EVERY_BACKEND(WeighElites, IsTheFormula) {
  for (const i64 dim : {7, 50}) {
    for (const i64 elites : {1, 9, 300}) {
      for (const double temperature : {0.01, 0.5, 4.0}) {
        Field field(ctx, 311, elites, 1, dim);
        Buffer<float> mean(ctx, 3 * dim), cost(ctx, 3), weights(ctx, 3 * elites);
        weigh_elites<float>(ctx, field.views(), temperature, NanCosts::never_win,
                            {mean.view<3>({3, 1, dim}), cost.flat(), weights.rows(elites)});
        const auto m = mean.values(), c = cost.values(), w = weights.values();
        for (i64 e = 0; e < 3; ++e) {
          double total = 0, cost_sum = 0;
          std::vector<double> exact;
          for (i64 k = 0; k < elites; ++k) {
            exact.push_back(std::exp(-(field.cost_of(e, k) - field.cost_of(e, 0)) / temperature));
            total += exact.back();
            cost_sum += field.cost_of(e, k);
          }
          EXPECT_NEAR(c[static_cast<std::size_t>(e)], cost_sum / static_cast<double>(elites), 1e-7);
          for (i64 i = 0; i < dim; ++i) {
            double sum = 0;
            for (i64 k = 0; k < elites; ++k) {
              sum += exact[static_cast<std::size_t>(k)] / total * field.value(e, k, i);
            }
            // each weight is rounded by 2^-24 of itself, and candidates are below 5
            EXPECT_NEAR(m[static_cast<std::size_t>(e * dim + i)], sum, 5 * 1.2e-7);
          }
          for (i64 k = 0; k < elites; ++k) {
            const double share = exact[static_cast<std::size_t>(k)] / total;
            // below 1e-38 floats thin out
            EXPECT_NEAR(w[static_cast<std::size_t>(e * elites + k)], share, 1e-7 * share + 1e-38);
          }
        }
      }
    }
  }
}

TEST_ON_EVERY_BACKEND(LowestCosts, PutNanFirstWhereAsked) {
  Buffer<float> costs(ctx, std::vector<float>{1, kNan, -kInf, 1, kNan});
  Buffer<i32> order(ctx, 5);
  lowest_costs<float>(ctx, costs.rows(5), 5, order.rows(5), true);
  EXPECT_THAT(order.values(), ElementsAre(1, 4, 2, 0, 3));
}

// what is learned from three candidates 1, 2, 3 of the given costs, best first, by a distribution
// that was 9 with std 8
struct Learned {
  float mean, cost, std;
  std::vector<float> weights;
};

Learned weighed(Context& ctx, const std::vector<float>& costs, NanCosts nan) {
  Buffer<float> x(ctx, std::vector<float>{1, 2, 3}), cost(ctx, costs);
  Buffer<i32> order(ctx, std::vector<i32>{0, 1, 2});
  Buffer<float> mean(ctx, std::vector<float>{9}), mean_cost(ctx, 1), weights(ctx, 3);
  weigh_elites<float>(ctx, {x.view<4>({1, 3, 1, 1}), cost.rows(3), order.rows(3)}, 1.0, nan,
                      {mean.view<3>({1, 1, 1}), mean_cost.flat(), weights.rows(3)});
  return {mean.values()[0], mean_cost.values()[0], 0, weights.values()};
}

Learned fitted(Context& ctx, const std::vector<float>& costs, const FitRule& rule) {
  Buffer<float> x(ctx, std::vector<float>{1, 2, 3}), cost(ctx, costs);
  Buffer<i32> order(ctx, std::vector<i32>{0, 1, 2});
  Buffer<float> mean(ctx, std::vector<float>{9}), std(ctx, std::vector<float>{8}),
      mean_cost(ctx, 1), best(ctx, 1);
  fit_elites<float>(
      ctx, {x.view<4>({1, 3, 1, 1}), cost.rows(3), order.rows(3)}, rule,
      {mean.view<3>({1, 1, 1}), std.view<3>({1, 1, 1}), mean_cost.flat(), best.flat(), {}});
  return {mean.values()[0], mean_cost.values()[0], std.values()[0], {}};
}

TEST_ON_EVERY_BACKEND(WeighElites, ANanWeighsNothingAndAsReleasedMakesAllNan) {
  Learned learned = weighed(ctx, {4, 4, kNan}, NanCosts::as_released);
  EXPECT_TRUE(std::isnan(learned.mean) && std::isnan(learned.weights[0]));
  EXPECT_TRUE(std::isnan(learned.cost));

  learned = weighed(ctx, {4, 4, kNan}, NanCosts::never_win);
  EXPECT_EQ(learned.mean, 1.5f);
  EXPECT_EQ(learned.cost, 4.0f);
  EXPECT_THAT(learned.weights, ElementsAre(0.5f, 0.5f, 0.0f));

  learned = weighed(ctx, {kNan, kNan, kNan}, NanCosts::never_win);
  EXPECT_EQ(learned.mean, 9.0f) << "nothing is known, so nothing changes";
  EXPECT_TRUE(std::isnan(learned.cost));
  EXPECT_THAT(learned.weights, ElementsAre(0.0f, 0.0f, 0.0f));
}

TEST_ON_EVERY_BACKEND(WeighElites, InfinityWeighsNothingBesideANumber) {
  for (const NanCosts nan : {NanCosts::never_win, NanCosts::as_released}) {
    const Learned learned = weighed(ctx, {4, 4, kInf}, nan);
    EXPECT_EQ(learned.mean, 1.5f);
    EXPECT_THAT(learned.weights, ElementsAre(0.5f, 0.5f, 0.0f));
  }
  EXPECT_EQ(weighed(ctx, {kInf, kInf, kNan}, NanCosts::never_win).mean, 1.5f);
  EXPECT_EQ(weighed(ctx, {-kInf, 3, 4}, NanCosts::never_win).mean, 1.0f);
  EXPECT_TRUE(std::isnan(weighed(ctx, {kInf, kInf, kInf}, NanCosts::as_released).mean));
}

TEST_ON_EVERY_BACKEND(FitElites, ANanIsNoEliteUnlessAsReleased) {
  Learned learned = fitted(ctx, {4, 6, kNan}, {.nan = NanCosts::as_released});
  EXPECT_EQ(learned.mean, 2.0f);
  EXPECT_EQ(learned.std, 1.0f);
  EXPECT_TRUE(std::isnan(learned.cost));

  learned = fitted(ctx, {4, 6, kNan}, {.elite_std = EliteStd::population});
  EXPECT_EQ(learned.mean, 1.5f);
  EXPECT_EQ(learned.std, 0.5f);
  EXPECT_EQ(learned.cost, 5.0f);

  learned = fitted(ctx, {4, kNan, kNan}, {.momentum = 0.5});
  EXPECT_EQ(learned.mean, 5.0f);
  EXPECT_EQ(learned.std, 8.0f) << "one of three says nothing about the spread";
  EXPECT_EQ(learned.cost, 4.0f);

  learned = fitted(ctx, {kNan, kNan, kNan}, {});
  EXPECT_EQ(learned.mean, 9.0f);
  EXPECT_EQ(learned.std, 8.0f);
  EXPECT_TRUE(std::isnan(learned.cost));
}

TEST(Elites, SayWhatDoesNotFit) {
  Context ctx({.threads = 1});
  Field field(ctx, 8, 4, 2, 2);
  Buffer<float> values(ctx, 64);
  Buffer<i32> order(ctx, 24);
  const auto mean = values.view<3>({3, 2, 2});
  EXPECT_THROW(lowest_costs<float>(ctx, field.costs->rows(8), 9, order.rows(8)), Error);
  EXPECT_THROW(lowest_costs<float>(ctx, field.costs->rows(8), 4, order.rows(4)), Error);
  const auto fit = [&](View<float, 3> std, i64 kept) {
    fit_elites<float>(
        ctx, field.views(), {},
        {mean, std, values.view<1>({3}), values.view<1>({3}), values.view<4>({3, kept, 2, 2})});
  };
  EXPECT_NO_THROW(fit(mean, 4));
  EXPECT_THROW(fit(mean, 5), Error);
  EXPECT_THROW(fit(values.view<3>({3, 2, 1}), 1), Error);
  EXPECT_THROW(weigh_elites<float>(ctx, field.views(), 0.0, NanCosts::never_win,
                                   {mean, values.view<1>({3}), values.view<2>({3, 4})}),
               Error);
}

}  // namespace
}  // namespace orrery
