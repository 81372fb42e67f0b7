// The official evaluation, recorded (shared/golden/protocol), as far as planner and policy go:
// start rows, plans from recorded draws and costs, actions from recorded plans.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/numpy_random.h"
#include "io/npz.h"
#include "plan/cem.h"
#include "plan/policy.h"
#include "tests/golden/recorded_plans.h"
#include "tests/golden/shared.h"

namespace orrery {
namespace {

// costs as recorded, whatever the candidates are
class RecordedCosts final : public Dynamics {
 public:
  RecordedCosts(const Tensor& costs, i64 action_dim) : costs_(costs), action_dim_(action_dim) {}
  i64 environments() const override { return 1; }
  i64 action_dim() const override { return action_dim_; }
  void rollout_cost(Context&, i64, View<const float, 4>, View<float, 2> cost) override {
    const auto row = costs_.view<float, 2>()[call_++];
    for (i64 s = 0; s < cost.size(1); ++s) cost(0, s) = row[s];
  }

 private:
  const Tensor& costs_;
  i64 action_dim_;
  i64 call_ = 0;
};

// hands out the recorded plans in their order
class RecordedPlans final : public Planner {
 public:
  RecordedPlans(const TensorMap& arrays, i64 horizon, i64 action_dim, i64 environments)
      : arrays_(arrays), horizon_(horizon), action_dim_(action_dim), environments_(environments) {}
  i64 horizon() const override { return horizon_; }
  i64 action_dim() const override { return action_dim_; }
  i64 max_environments() const override { return environments_; }
  void plan(Context&, Dynamics& dynamics, const PlanRequest&, const PlanResult& result) override {
    for (i64 e = 0; e < dynamics.environments(); ++e) {
      const auto recorded = arrays_.at(text("plan", next++, "_plan")).view<float, 2>();
      for (i64 t = 0; t < horizon_; ++t) {
        for (i64 d = 0; d < action_dim_; ++d) result.actions(e, t, d) = recorded(t, d);
      }
    }
  }
  i64 next = 0;

 private:
  const TensorMap& arrays_;
  i64 horizon_, action_dim_, environments_;
};

class Worlds final : public Dynamics {
 public:
  explicit Worlds(i64 action_dim) : action_dim_(action_dim) {}
  i64 environments() const override { return count; }
  i64 action_dim() const override { return action_dim_; }
  void rollout_cost(Context&, i64, View<const float, 4>, View<float, 2>) override {}
  i64 count = 0;

 private:
  i64 action_dim_;
};

class GoldenProtocol : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    folder_ = shared_folder() / "golden" / "protocol";
    ORRERY_NEEDS_SHARED(folder_);
    about_ = read_python_json(folder_ / text(GetParam(), ".json"));
    arrays_ = read_npz(folder_ / text(GetParam(), ".npz"));
  }
  std::filesystem::path folder_;
  json about_;
  TensorMap arrays_;
};

TEST_P(GoldenProtocol, StartRowsAreChosenInNumpysOrder) {
  const auto valid = arrays_.at("valid_rows").span<i64>();
  const auto recorded = arrays_.at("choice_in_draw_order").span<i64>();
  const auto count = static_cast<i64>(recorded.size());
  const u64 seed = about_.at("seed").get<u64>();
  const auto rows_of = [&](i64 choose_from) {
    std::vector<i64> rows;
    for (const i64 at : NumpyRandom(seed).choice(choose_from, count))
      rows.push_back(valid[static_cast<std::size_t>(at)]);
    std::sort(rows.begin(), rows.end());
    return rows;
  };
  const auto all = static_cast<i64>(valid.size());
  EXPECT_EQ(NumpyRandom(seed).choice(all, count),
            std::vector<i64>(recorded.begin(), recorded.end()));
  const auto rows = arrays_.at("rows").span<i64>();
  EXPECT_EQ(rows_of(all), std::vector<i64>(rows.begin(), rows.end()));
  const auto before = arrays_.at("rows_before_2026_07_22").span<i64>();
  EXPECT_EQ(rows_of(all - 1), std::vector<i64>(before.begin(), before.end()));
}

TEST_P(GoldenProtocol, PlansFollowFromRecordedNoiseAndCosts) {
  constexpr double kTolerance = 1e-6;  // of the README
  const CemConfig config = cem_config_of(about_.at("cem"));
  const json& plans = about_.at("plans");
  Context ctx({.threads = 2});
  for (std::size_t i = 0; i < plans.size(); ++i) {
    SCOPED_TRACE(text("plan ", i));
    const auto recorded = [&](const char* what) -> const Tensor& {
      return arrays_.at(text("plan", i, "_", what));
    };
    const Tensor& draws = recorded("noise");
    const i64 width = draws.size(2) * draws.size(3);
    RecordedNoise noise;
    for (i64 k = 0; k < config.iterations; ++k) {
      noise.push(
          row_of<float>(draws, k).reshaped({1, draws.size(1), draws.size(2), draws.size(3)}));
    }
    Cem cem(ctx, config, {1, draws.size(2), draws.size(3)}, noise);
    cem.observe([&](const SearchIteration<float>& seen) {
      for (i64 k = 0; k < config.elites; ++k) {
        EXPECT_EQ(seen.elites(0, k), (recorded("elite_idx").view<i32, 2>()(seen.iteration, k)));
      }
      for (i64 n = 0; n < width; ++n) {
        const i64 at = seen.iteration * width + n;
        EXPECT_NEAR(seen.mean.data()[n], recorded("mean").data<float>()[at], kTolerance);
        EXPECT_NEAR(seen.std.data()[n], recorded("std").data<float>()[at], kTolerance);
      }
    });
    RecordedCosts dynamics(recorded("costs"), draws.size(3));
    Tensor actions = Tensor::zeros<float>({1, draws.size(2), draws.size(3)});
    Tensor cost = Tensor::zeros<float>({1});
    cem.plan(ctx, dynamics, {}, {actions.view<float, 3>(), cost.view<float, 1>(), {}});
    for (i64 n = 0; n < width; ++n) {
      EXPECT_NEAR(actions.data<float>()[n], recorded("plan").data<float>()[n], kTolerance);
    }
    const double plan_cost = plans[i].at("cost").get<double>();
    EXPECT_NEAR(cost.data<float>()[0], plan_cost, kTolerance * plan_cost);
  }
}

TEST_P(GoldenProtocol, ActionsFollowFromRecordedPlansBitForBit) {
  const Tensor& recorded = arrays_.at("actions");
  const i64 environments = recorded.size(1), raw_dim = recorded.size(2);
  const json& given = about_.at("plan_config");
  const PlanConfig config = {.horizon = given.at("horizon").get<i64>(),
                             .receding_horizon = given.at("receding_horizon").get<i64>(),
                             .action_block = given.at("action_block").get<i64>()};
  const auto mean = arrays_.at("action_mean").span<double>();
  const auto std = arrays_.at("action_scale").span<double>();
  const i64 width = raw_dim * config.action_block;
  RecordedPlans planner(arrays_, config.horizon, width, environments);
  RecedingHorizonPolicy policy(
      config, environments, raw_dim,
      {.mean = {mean.begin(), mean.end()}, .std = {std.begin(), std.end()}}, planner);

  Context ctx({.threads = 1});
  Worlds worlds(width);
  i64 step = 0;
  const auto observe = [&](std::span<const i64> who) -> Dynamics& {
    for (std::size_t i = 0; i < who.size(); ++i) {
      const json& plan = about_.at("plans").at(static_cast<std::size_t>(planner.next) + i);
      EXPECT_EQ(plan.at("env").get<i64>(), who[i]);
      EXPECT_EQ(plan.at("step").get<i64>(), step);
    }
    worlds.count = static_cast<i64>(who.size());
    return worlds;
  };
  std::vector<float> actions(static_cast<std::size_t>(environments * raw_dim));
  for (; step < recorded.size(0); ++step) {
    policy.act(ctx, observe, {actions.data(), {environments, raw_dim}});
    for (std::size_t i = 0; i < actions.size(); ++i) {
      const float theirs =
          recorded.data<float>()[step * environments * raw_dim + static_cast<i64>(i)];
      if (std::isnan(theirs)) {
        EXPECT_TRUE(std::isnan(actions[i])) << "step " << step << ", number " << i;
      } else {
        EXPECT_EQ(actions[i], theirs) << "step " << step << ", number " << i;
      }
    }
    for (i64 e = 0; e < environments; ++e) {
      if (arrays_.at("terminated").data<bool>()[step * environments + e]) policy.finish(e);
    }
  }
  EXPECT_EQ(static_cast<std::size_t>(planner.next), about_.at("plans").size());
}

INSTANTIATE_TEST_SUITE_P(Planner, GoldenProtocol, testing::Values("pusht", "tworoom"));

}  // namespace
}  // namespace orrery
