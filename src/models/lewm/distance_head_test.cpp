#include "models/lewm/distance_head.h"

#include <gmock/gmock.h>

#include <unistd.h>

#include <cmath>
#include <functional>

#include "base/random.h"
#include "io/json.h"
#include "models/lewm/objective.h"

namespace orrery::lewm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr DistanceHead::Sizes kSizes{.latent = 5, .hidden = 7, .largest_gap = 12};
constexpr i64 kGroup = 2, kSamples = 18, kCandidates = kGroup * kSamples;

DistanceHead drawn_head() {
  DistanceHead head(kSizes);
  initialize(head.head(), 3);
  float* values = head.head().parameters.data<float>();
  // away from the start, where the norm has gain 1 and bias 0
  for (i64 i = 0; i < head.head().parameters.numel(); ++i) {
    values[i] += 0.3f * normal(4, 1, static_cast<u64>(i));
  }
  head.arrange();
  return head;
}

// the formula of the header in double
double reference(const DistanceHead& head, const double* a, const double* b) {
  const Head& t = head.head().tensors;
  const i64 width = kSizes.latent, hidden = kSizes.hidden;
  std::vector<double> units;
  double mean = 0, square = 0;
  for (i64 h = 0; h < hidden; ++h) {
    double sum = t.up.bias[h];
    for (i64 i = 0; i < width; ++i) {
      sum += t.up.weight(h, i) * a[i] + t.up.weight(h, width + i) * b[i] +
             t.up.weight(h, 2 * width + i) * std::abs(a[i] - b[i]);
    }
    units.push_back(sum);
    mean += sum / static_cast<double>(hidden);
  }
  for (const double u : units) square += (u - mean) * (u - mean) / static_cast<double>(hidden);
  double out = t.down.bias[0];
  for (i64 h = 0; h < hidden; ++h) {
    const double x =
        (units[static_cast<std::size_t>(h)] - mean) / std::sqrt(square + 1e-5) * t.norm.weight[h] +
        t.norm.bias[h];
    out += t.down.weight(0, h) * 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
  }
  return out;
}

struct Rows {
  std::vector<float> latents, goals, actions;
  Rows() {
    fill(latents, kCandidates * kSizes.latent, 5);
    fill(goals, kGroup * kSizes.latent, 6);
    fill(actions, kCandidates * 2, 7);
  }
  static void fill(std::vector<float>& values, i64 count, u64 seed) {
    values.resize(static_cast<std::size_t>(count));
    fill_normal(seed, 1, 0, count, values.data());
  }
  Outcomes outcomes() const {
    return {{latents.data(), {kGroup, kSamples, kSizes.latent}},
            {goals.data(), {kGroup, kSizes.latent}},
            {actions.data(), {kGroup, kSamples, 1, 2}}};
  }
  std::vector<double> latent(i64 index) const {
    const float* from = latents.data() + index * kSizes.latent;
    return {from, from + kSizes.latent};
  }
  std::vector<double> goal(i64 index) const {
    const float* from = goals.data() + index / kSamples * kSizes.latent;
    return {from, from + kSizes.latent};
  }
};

Objective time_alone() {
  return {{{Measure::time_to_goal, 1.5}}, std::make_shared<DistanceHead>(drawn_head())};
}

TEST(DistanceHead, IsACostOfPlans) {
  Context ctx({.threads = 2});
  const Rows rows;
  const Objective objective = time_alone();
  check_objective(objective, kSizes.latent);
  std::vector<float> cost(kCandidates);
  objective_cost(ctx, objective, rows.outcomes(), {cost.data(), {kGroup, kSamples}});
  for (i64 i = 0; i < kCandidates; ++i) {
    const double expected =
        1.5 * reference(*objective.distance, rows.latent(i).data(), rows.goal(i).data());
    // sums of 15 and 7 f32 terms of unit size, divided by a deviation near 1
    EXPECT_NEAR(cost[static_cast<std::size_t>(i)], expected, 1e-5) << "candidate " << i;
  }
}

TEST(DistanceHead, SlopesEqualCentralDifferences) {
  Context ctx({.threads = 2});
  const Rows rows;
  const Objective objective = time_alone();
  std::vector<float> latents(rows.latents.size(), 7.0f), actions(rows.actions.size(), 7.0f);
  objective_slopes(ctx, objective, rows.outcomes(),
                   {{latents.data(), {kGroup, kSamples, kSizes.latent}},
                    {actions.data(), {kGroup, kSamples, 1, 2}}});
  for (i64 i = 0; i < kCandidates; ++i) {
    std::vector<double> z = rows.latent(i);
    const std::vector<double> g = rows.goal(i);
    for (i64 d = 0; d < kSizes.latent; ++d) {
      double& x = z[static_cast<std::size_t>(d)];
      const double before = x;
      constexpr double kStep = 1e-5;
      x = before + kStep;
      const double above = reference(*objective.distance, z.data(), g.data());
      x = before - kStep;
      const double below = reference(*objective.distance, z.data(), g.data());
      x = before;
      EXPECT_NEAR(latents[static_cast<std::size_t>(i * kSizes.latent + d)],
                  1.5 * (above - below) / (2 * kStep), 5e-5);
    }
  }
  for (const float slope : actions) EXPECT_EQ(slope, 0.0f);
}

std::string said(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(DistanceHead, IsKeptBesideTheModel) {
  const fs::path folder = fs::temp_directory_path() / text("orrery-distance-", getpid());
  fs::create_directories(folder);
  EXPECT_THAT(said([&] { read_distance_head(folder, 5); }), HasSubstr("orrery distance"));
  const DistanceHead head = drawn_head();
  write_distance_head(folder, head);
  const DistanceHead again = read_distance_head(folder, 5);
  EXPECT_EQ(again.sizes().largest_gap, 12);
  const Rows rows;
  std::vector<float> from_goal(7), units(14);
  head.begin_goal(rows.goals.data(), from_goal.data());
  const float kept =
      head.distance(rows.latents.data(), rows.goals.data(), from_goal.data(), units.data());
  again.begin_goal(rows.goals.data(), from_goal.data());
  EXPECT_EQ(again.distance(rows.latents.data(), rows.goals.data(), from_goal.data(), units.data()),
            kept);

  EXPECT_THAT(said([&] { read_distance_head(folder, 6); }), HasSubstr("latents of 5"));
  write_json(folder / "distance_head.json", {{"latent", 5}, {"hidden", 60000}, {"largest_gap", 3}});
  EXPECT_THAT(said([&] { read_distance_head(folder, 5); }), HasSubstr("60000 hidden units"));
  write_json(folder / "distance_head.json", {{"latent", 5}, {"hidden", 8}, {"largest_gap", 3}});
  EXPECT_THAT(said([&] { read_distance_head(folder, 5); }), HasSubstr("has shape"));
  write_json(folder / "distance_head.json", {{"latent", 5}, {"hidden", -1}, {"largest_gap", 3}});
  EXPECT_THAT(said([&] { read_distance_head(folder, 5); }), HasSubstr("hidden must be"));
  fs::remove_all(folder);
}

TEST(DistanceHead, AnObjectiveNeedsOneThatFits) {
  EXPECT_THAT(said([] {
                check_objective({{{Measure::time_to_goal, 1}}}, 5);
              }),
              HasSubstr("needs a distance head"));
  EXPECT_THAT(said([] { check_objective(time_alone(), 6); }), HasSubstr("for 5 numbers"));
}

}  // namespace
}  // namespace orrery::lewm
