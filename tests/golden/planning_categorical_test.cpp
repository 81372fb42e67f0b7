// The official planner of discrete actions, recorded (shared/golden/planning): the same draws must
// give the same categories, probabilities and plans.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/npz.h"
#include "ops/test_support.h"
#include "plan/on_host.h"
#include "tests/golden/golden_cost.h"
#include "tests/golden/shared.h"

namespace orrery {
namespace {

constexpr i64 kCategories = 9;

std::filesystem::path planning_folder() { return shared_folder() / "golden" / "planning"; }

// The analytic world for weights of nine directions: a = weights x directions.
class DirectionCost final : public Dynamics {
 public:
  explicit DirectionCost(const TensorMap& arrays, i64 choices)
      : inner_(arrays, "plain", 2 * choices), choices_(choices) {}
  i64 environments() const override { return inner_.environments(); }
  i64 action_dim() const override { return choices_ * kCategories; }
  void rollout_cost(Context& ctx, i64 first, View<const float, 4> weights,
                    View<float, 2> cost) override {
    constexpr float r = 0.70710678f;
    constexpr float kDirections[kCategories][2] = {{0, 0},  {1, 0},   {r, r},  {0, 1}, {-r, r},
                                                   {-1, 0}, {-r, -r}, {0, -1}, {r, -r}};
    const i64 chosen = weights.numel() / kCategories;
    std::vector<float> actions(static_cast<std::size_t>(2 * chosen), 0.0f);
    for (i64 i = 0; i < weights.numel(); ++i) {
      for (i64 d = 0; d < 2; ++d) {
        actions[static_cast<std::size_t>(i / kCategories * 2 + d)] +=
            weights.data()[i] * kDirections[i % kCategories][d];
      }
    }
    inner_.rollout_cost(
        ctx, first,
        {actions.data(), {weights.size(0), weights.size(1), weights.size(2), 2 * choices_}}, cost);
  }

 private:
  GoldenCost<float> inner_;
  i64 choices_;
};

void replay(Context& ctx, const std::string& name, const json& about) {
  SCOPED_TRACE(name);
  const TensorMap arrays = read_npz(planning_folder() / (name + ".npz"));
  const Tensor& plan = arrays.at("plan");
  const i64 horizon = plan.size(1), choices = plan.size(2);
  const PlanSizes sizes = {about.at("n_envs").get<i64>(), horizon, choices * kCategories};
  const CategoricalCemConfig config = categorical_cem_config_of(about.at("args"), kCategories);

  Context host({.threads = 1});
  DirectionCost world(arrays, choices);
  OnHost<float> dynamics(world, host);
  RecordedNoise noise;
  const i64 calls = sizes.environments * config.iterations;
  for (i64 call = 0; call < calls; ++call) {
    noise.push(of_call<float>(arrays, "uniform", call)
                   .reshaped({1, config.samples, horizon, sizes.action_dim}));
  }
  CategoricalCem planner(ctx, config, sizes, noise);
  i64 call = 0;
  planner.observe([&](const SearchIteration<float>& seen) {
    const Tensor categories = row_of<i8>(arrays.at("categories"), call);
    const Tensor costs = of_call<float>(arrays, "costs", call);
    const Tensor elites = of_call<i32>(arrays, "elite_idx", call);
    const Tensor probabilities = of_call<float>(arrays, "probs", call);
    for (i64 i = 0; i < categories.numel(); ++i) {
      const float* weights = seen.candidates.data() + i * kCategories;
      for (i64 c = 0; c < kCategories; ++c) {
        ASSERT_EQ(weights[c], c == categories.data<i8>()[i] ? 1.0f : 0.0f)
            << "choice " << i << " of call " << call;
      }
    }
    for (i64 s = 0; s < config.samples; ++s) {
      // of the README: 2e-5 relative
      EXPECT_NEAR(seen.costs(0, s), costs.data<float>()[s],
                  2e-5 * std::max(1.0f, costs.data<float>()[s]));
    }
    for (i64 k = 0; k < config.elites; ++k) {
      EXPECT_EQ(seen.elites(0, k), elites.data<i32>()[k]) << "elite " << k << " of call " << call;
    }
    for (i64 i = 0; i < probabilities.numel(); ++i) {
      EXPECT_NEAR(seen.mean.data()[i], probabilities.data<float>()[i], 1e-6)
          << "probability " << i << " of call " << call;
    }
    ++call;
  });
  Tensor actions = Tensor::zeros<float>({sizes.environments, horizon, sizes.action_dim});
  Tensor cost = Tensor::zeros<float>({sizes.environments});
  planner.plan(ctx, dynamics, {}, {actions.view<float, 3>(), cost.view<float, 1>(), {}});
  EXPECT_EQ(call, calls);
  EXPECT_EQ(noise.left(), 0u);
  for (i64 e = 0; e < sizes.environments; ++e) {
    const auto chosen = categories_of(actions.view<float, 3>()[e], kCategories);
    for (i64 i = 0; i < horizon * choices; ++i) {
      EXPECT_EQ(chosen[static_cast<std::size_t>(i)], plan.data<i32>()[e * horizon * choices + i])
          << "environment " << e << ", choice " << i;
    }
    const double theirs = arrays.at("plan_cost").data<double>()[e];
    EXPECT_NEAR(cost.data<float>()[e], theirs, 2e-5 * std::max(1.0, theirs));
  }
}

void replay_all(Context& ctx) {
  const json index = read_python_json(planning_folder() / "index.json");
  int cases = 0;
  for (const auto& [name, about] : index.items()) {
    if (about.at("planner") != "categorical_cem") continue;
    replay(ctx, name, about);
    ++cases;
  }
  EXPECT_GT(cases, 0);
}

TEST(GoldenPlanning, CategoricalCemRepeatsEveryRecordedRun) {
  ORRERY_NEEDS_SHARED(planning_folder());
  Context ctx({.threads = 2});
  replay_all(ctx);
}

TEST(CudaGoldenPlanning, CategoricalCemRepeatsEveryRecordedRun) {
  ORRERY_NEEDS_SHARED(planning_folder());
  ORRERY_NEEDS_CUDA;
  Context ctx(test::on_cuda());
  replay_all(ctx);
}

}  // namespace
}  // namespace orrery
