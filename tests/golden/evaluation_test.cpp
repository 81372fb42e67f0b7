// The published evaluation, run end to end from its recorded draws: which rows are chosen, what
// every plan answers, what every environment does (golden/protocol).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "data/statistics.h"
#include "eval/evaluate.h"
#include "io/json.h"
#include "io/npz.h"
#include "tests/golden/shared.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

// tolerances of the folder's README: costs 1e-4 relative, TwoRoom states 1e-5. Actions of plans
// from pixels were 1e-6 off when measured (AVX-512); other instruction sets get ten times that
constexpr double kCostTolerance = 1e-4;
constexpr double kStateTolerance = 1e-5;
constexpr double kActionTolerance = 1e-5;

std::vector<double> numbers(const Tensor& tensor) {
  const Tensor wide = tensor.converted(DType::f64);
  return {wide.span<double>().begin(), wide.span<double>().end()};
}

// a run recorded for TwoRoom; the PushT environment has its own test once it is there
TEST(ProtocolRun, TwoRoomFollowsFromItsDraws) {
  const fs::path folder = shared_folder() / "golden" / "protocol";
  ORRERY_NEEDS_SHARED(folder / "tworoom.npz");
  const TensorMap run = read_npz(folder / "tworoom.npz");
  const nlohmann::json facts = read_json(folder / "tworoom.json");
  const auto episodes = open_episodes(folder / "tworoom.h5");

  Context ctx;
  const lewm::Model model(ctx, lewm::load_model(folder / "checkpoints" / "lewm_small"));
  const ColumnStatistics action = column_statistics(*episodes, episodes->column_index("action"));
  lewm::Statistics statistics;
  statistics.action_mean = action.mean;
  statistics.action_std = action.deviation;

  const auto mean = numbers(run.at("action_mean")), scale = numbers(run.at("action_scale"));
  for (std::size_t d = 0; d < mean.size(); ++d) {
    EXPECT_NEAR(statistics.action_mean[d], mean[d], 1e-9);
    EXPECT_NEAR(statistics.action_std[d], scale[d], 1e-9);
  }

  Protocol protocol;
  const Tensor& first_noise = run.at("plan0_noise");  // [iterations, samples, horizon, block]
  const Tensor& first_elites = run.at("plan0_elite_idx");
  const Tensor& expected_actions = run.at("actions");  // [steps, environments, 2]
  protocol.episodes = expected_actions.size(1);
  protocol.seed = facts.at("seed").get<u64>();
  protocol.goal_offset = facts.at("goal_offset").get<i64>();
  protocol.budget = facts.at("budget").get<i64>();
  protocol.planner.iterations = first_noise.size(0);
  protocol.planner.samples = first_noise.size(1);
  protocol.planner.elites = first_elites.size(1);
  protocol.plan.horizon = protocol.plan.receding_horizon = first_noise.size(2);

  RecordedNoise noise;
  const auto plans = facts.at("plans");
  for (std::size_t p = 0; p < plans.size(); ++p) {
    const Tensor& draws = run.at(text("plan", p, "_noise"));
    const i64 each = draws.numel() / draws.size(0);
    for (i64 i = 0; i < draws.size(0); ++i) {
      noise.push(
          Tensor::of<float>({1, draws.size(1), draws.size(2), draws.size(3)},
                            {draws.data<float>() + i * each, static_cast<std::size_t>(each)}));
    }
  }

  EvaluateOptions options;
  options.environment = "tworoom";
  options.noise = &noise;
  const Evaluation evaluation = evaluate(ctx, model, statistics, protocol, *episodes, options);
  EXPECT_EQ(noise.left(), 0u);

  const auto rows = numbers(run.at("rows")), success = numbers(run.at("success"));
  const auto actions = numbers(expected_actions), states = numbers(run.at("states"));
  const i64 environments = protocol.episodes, state_width = run.at("states").size(2);
  for (i64 e = 0; e < environments; ++e) {
    const EpisodeRecord& episode = evaluation.episodes[static_cast<std::size_t>(e)];
    EXPECT_EQ(static_cast<double>(episode.start.row), rows[static_cast<std::size_t>(e)]);
    EXPECT_EQ(episode.success, success[static_cast<std::size_t>(e)] != 0);
    for (i64 t = 0; t < episode.steps; ++t) {
      for (i64 d = 0; d < 2; ++d) {
        EXPECT_NEAR(static_cast<double>(
                        episode.actions[static_cast<std::size_t>(t)][static_cast<std::size_t>(d)]),
                    actions[static_cast<std::size_t>((t * environments + e) * 2 + d)],
                    kActionTolerance)
            << "environment " << e << " step " << t;
        EXPECT_NEAR(episode.states[static_cast<std::size_t>(t + 1)][static_cast<std::size_t>(d)],
                    states[static_cast<std::size_t>((t * environments + e) * state_width + d)],
                    // a step moves by at most speed (5) times the action's error, and errors add up
                    kStateTolerance + 5 * kActionTolerance * static_cast<double>(t + 1))
            << "environment " << e << " step " << t;
      }
    }
  }
  std::vector<std::size_t> made(static_cast<std::size_t>(environments), 0);
  for (const auto& plan : plans) {
    const auto e = plan.at("env").get<std::size_t>();
    const PlanRecord& ours = evaluation.episodes[e].plans.at(made[e]++);
    EXPECT_EQ(ours.step, plan.at("step").get<i64>());
    const double cost = plan.at("cost").get<double>();
    EXPECT_NEAR(ours.cost, cost, kCostTolerance * std::abs(cost));
  }
}

}  // namespace
}  // namespace orrery
