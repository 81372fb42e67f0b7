#include "models/lewm/objective.h"

#include <gmock/gmock.h>

#include <functional>

#include "base/error.h"
#include "ops/test_support.h"

namespace orrery::lewm {
namespace {

using namespace test;
using testing::HasSubstr;

constexpr i64 kGroup = 2, kSamples = 19, kDim = 23, kBlocks = 3, kWidth = 4;
constexpr i64 kNumbers = kBlocks * kWidth, kCandidates = kGroup * kSamples;
constexpr Measure kMeasures[] = {Measure::goal_sum, Measure::goal_mean, Measure::control_sum,
                                 Measure::control_mean, Measure::largest_action};

// the formulas of the header, in double
double measured(Measure measure, const double* z, const double* g, const double* a) {
  double goal = 0, control = 0, largest = 0;
  for (i64 d = 0; d < kDim; ++d) goal += (z[d] - g[d]) * (z[d] - g[d]);
  for (i64 i = 0; i < kNumbers; ++i) {
    control += a[i] * a[i];
    largest = std::max(largest, std::abs(a[i]));
  }
  switch (measure) {
    case Measure::goal_sum:
      return goal;
    case Measure::goal_mean:
      return goal / kDim;
    case Measure::control_sum:
      return control;
    case Measure::control_mean:
      return control / kNumbers;
    case Measure::largest_action:
      return largest;
    case Measure::time_to_goal:  // distance_head_test.cpp
      return 0;
  }
  return 0;
}

struct Rows {
  std::vector<float> latents = random_values(kCandidates * kDim, 1);
  std::vector<float> goals = random_values(kGroup * kDim, 2);
  std::vector<float> actions = random_values(kCandidates * kNumbers, 3);
  Outcomes outcomes() const {
    return {{latents.data(), {kGroup, kSamples, kDim}},
            {goals.data(), {kGroup, kDim}},
            {actions.data(), {kGroup, kSamples, kBlocks, kWidth}}};
  }
};

// one candidate in double, to be moved about
struct Wide {
  std::vector<double> z, g, a;
  Wide(const Rows& rows, i64 index) {
    const i64 e = index / kSamples;
    z.assign(rows.latents.begin() + index * kDim, rows.latents.begin() + (index + 1) * kDim);
    g.assign(rows.goals.begin() + e * kDim, rows.goals.begin() + (e + 1) * kDim);
    a.assign(rows.actions.begin() + index * kNumbers,
             rows.actions.begin() + (index + 1) * kNumbers);
  }
  double at(Measure measure) const { return measured(measure, z.data(), g.data(), a.data()); }
};

double slope(const std::function<double()>& value, double& x) {
  constexpr double kStep = 1e-5;
  const double before = x;
  x = before + kStep;
  const double above = value();
  x = before - kStep;
  const double below = value();
  x = before;
  return (above - below) / (2 * kStep);
}

// the terms of a test: each measure alone, and a sum
std::vector<Objective> objectives() {
  std::vector<Objective> all;
  for (const Measure measure : kMeasures) {
    if (measure != Measure::largest_action) all.push_back({{{measure, 1}}});
  }
  all.push_back({});
  all.push_back({{{Measure::goal_mean, 2},
                  {Measure::control_sum, 0.01},
                  {Measure::goal_sum, 0.5},
                  {Measure::control_mean, -0.25}}});
  return all;
}

TEST_ON_EVERY_BACKEND(Objective, IsTheWeightedSumOfItsTerms) {
  const Rows rows;
  Buffer<float> latents(ctx, rows.latents), goals(ctx, rows.goals), actions(ctx, rows.actions);
  const Outcomes there = {latents.view<3>({kGroup, kSamples, kDim}), goals.view<2>({kGroup, kDim}),
                          actions.view<4>({kGroup, kSamples, kBlocks, kWidth})};
  for (const Objective& objective : objectives()) {
    Buffer<float> cost(ctx, kCandidates);
    objective_cost(ctx, objective, there, cost.view<2>({kGroup, kSamples}));
    const auto values = cost.values();
    for (i64 i = 0; i < kCandidates; ++i) {
      double expected = 0, size = 0;
      for (const Term& term : objective.terms) {
        const double value = term.weight * Wide(rows, i).at(term.measure);
        expected += value;
        size += std::abs(value);
      }
      EXPECT_NEAR(values[static_cast<std::size_t>(i)], expected, (1 + kDim) * 0x1p-22 * size);
    }
  }
}

TEST(Objective, SlopesEqualCentralDifferences) {
  Context ctx({.threads = 2});
  const Rows rows;
  for (const Objective& objective : objectives()) {
    // what was there must not matter
    std::vector<float> latents(rows.latents.size(), 7.0f), actions(rows.actions.size(), 7.0f);
    objective_slopes(ctx, objective, rows.outcomes(),
                     {{latents.data(), {kGroup, kSamples, kDim}},
                      {actions.data(), {kGroup, kSamples, kBlocks, kWidth}}});
    for (i64 i = 0; i < kCandidates; ++i) {
      Wide x(rows, i);
      const auto cost = [&] {
        double sum = 0;
        for (const Term& term : objective.terms) sum += term.weight * x.at(term.measure);
        return sum;
      };
      // quadratic, so the differences are exact but for the rounding of costs up to 100
      for (i64 d = 0; d < kDim; ++d) {
        EXPECT_NEAR(latents[static_cast<std::size_t>(i * kDim + d)],
                    slope(cost, x.z[static_cast<std::size_t>(d)]), 1e-5);
      }
      for (i64 n = 0; n < kNumbers; ++n) {
        EXPECT_NEAR(actions[static_cast<std::size_t>(i * kNumbers + n)],
                    slope(cost, x.a[static_cast<std::size_t>(n)]), 1e-5);
      }
    }
  }
}

TEST(Objective, ConstraintsAreWhatIsMeasuredBeyondALimit) {
  Context ctx({.threads = 2});
  const Rows rows;
  std::vector<Constraint> constraints;
  for (const Measure measure : kMeasures) {
    constraints.push_back({measure, 0.1 * static_cast<double>(constraints.size()) - 0.2});
  }
  const auto count = static_cast<i64>(constraints.size());
  std::vector<float> values(static_cast<std::size_t>(kCandidates * count));
  constraint_values(ctx, constraints, rows.outcomes(), {values.data(), {kGroup, kSamples, count}});

  const auto weights = random_values(kCandidates * count, 5);
  // slopes are added to what is there
  std::vector<float> latents(rows.latents.size(), 0.5f), actions(rows.actions.size(), 0.25f);
  add_constraint_slopes(ctx, constraints, rows.outcomes(),
                        {weights.data(), {kGroup, kSamples, count}},
                        {{latents.data(), {kGroup, kSamples, kDim}},
                         {actions.data(), {kGroup, kSamples, kBlocks, kWidth}}});
  for (i64 i = 0; i < kCandidates; ++i) {
    Wide x(rows, i);
    for (i64 k = 0; k < count; ++k) {
      const Constraint& one = constraints[static_cast<std::size_t>(k)];
      const double expected = x.at(one.measure) - one.limit;
      EXPECT_NEAR(values[static_cast<std::size_t>(i * count + k)], expected,
                  1e-6 * (1 + std::abs(expected)));
    }
    const auto sum = [&] {
      double total = 0;
      for (i64 k = 0; k < count; ++k) {
        total += static_cast<double>(weights[static_cast<std::size_t>(i * count + k)]) *
                 x.at(constraints[static_cast<std::size_t>(k)].measure);
      }
      return total;
    };
    for (i64 d = 0; d < kDim; ++d) {
      EXPECT_NEAR(latents[static_cast<std::size_t>(i * kDim + d)],
                  0.5 + slope(sum, x.z[static_cast<std::size_t>(d)]), 2e-5);
    }
    for (i64 n = 0; n < kNumbers; ++n) {
      EXPECT_NEAR(actions[static_cast<std::size_t>(i * kNumbers + n)],
                  0.25 + slope(sum, x.a[static_cast<std::size_t>(n)]), 2e-5);
    }
  }
}

TEST(Objective, SaysWhatIsWrong) {
  const auto said = [](const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(said([] { check_objective({}, kDim); }), "accepted");
  EXPECT_THAT(said([] { check_objective({{}}, kDim); }), HasSubstr("no terms"));
  EXPECT_THAT(said([] {
                check_objective({{{Measure::goal_sum, std::nan("")}}}, kDim);
              }),
              HasSubstr("weight is nan"));
  EXPECT_THAT(said([] {
                check_objective({{{Measure::largest_action, 1}}}, kDim);
              }),
              HasSubstr("largest action"));
  EXPECT_THAT(said([] {
                const Constraint endless = {Measure::control_sum, HUGE_VAL};
                check_constraints({&endless, 1});
              }),
              HasSubstr("limit is inf"));

  Context ctx({.threads = 1});
  const Rows rows;
  std::vector<float> cost(kCandidates);
  Outcomes outcomes = rows.outcomes();
  outcomes.goals = outcomes.goals.slice(0, 0, 1);
  EXPECT_THAT(said([&] {
                objective_cost(ctx, {}, outcomes, {cost.data(), {kGroup, kSamples}});
              }),
              HasSubstr("goals are (1, 23)"));
  EXPECT_THAT(said([&] {
                objective_cost(ctx, {}, rows.outcomes(), {cost.data(), {kSamples, kGroup}});
              }),
              HasSubstr("cost is (19, 2)"));
}

}  // namespace
}  // namespace orrery::lewm
