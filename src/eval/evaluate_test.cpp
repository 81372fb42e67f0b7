#include "eval/evaluate.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "data/recorder.h"
#include "models/lewm/recipe.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

lewm::Config small_config() {
  lewm::Config config;
  config.encoder = {
      .image_size = 28, .patch = 14, .hidden = 24, .layers = 1, .heads = 3, .mlp = 40};
  config.projector = {.input = 24, .hidden = 36, .output = 20};
  config.predictor = {.window = 3,
                      .input = 20,
                      .hidden = 20,
                      .output = 20,
                      .depth = 1,
                      .heads = 2,
                      .head_dim = 8,
                      .mlp = 44};
  config.pred_proj = {.input = 20, .hidden = 30, .output = 20};
  config.action = {.input = 10, .smoothed = 5, .output = 20, .mlp_scale = 2};
  return config;
}

// two plans of two small episodes, with everything that a report looks at or without
Evaluation played(Context& ctx, bool films) {
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) / text("orrery-evaluate-", ::getpid(), ".h5");
  RecordOptions recording;
  recording.episodes = 3;
  recording.max_steps = 30;
  recording.image_size = 28;
  record(ctx, recording, path, [](i64, i64) { return true; });
  const auto episodes = open_episodes(path);

  Protocol protocol;
  protocol.episodes = 2;
  protocol.goal_offset = 15;
  protocol.budget = 20;
  protocol.plan.horizon = protocol.plan.receding_horizon = 2;
  protocol.planner.samples = 12;
  protocol.planner.elites = 3;
  protocol.planner.iterations = 2;
  EvaluateOptions options;
  options.environment = "tworoom";
  options.films = films;
  options.gallery = 5;
  const lewm::Statistics statistics = {.action_mean = {0, 0}, .action_std = {1, 1}};
  const lewm::Model model(ctx, lewm::seeded_weights(small_config(), "evaluate"));
  const Evaluation evaluation = evaluate(ctx, model, statistics, protocol, *episodes, options);
  std::filesystem::remove(path);
  return evaluation;
}

TEST(Evaluate, TellsWhatWasSeenPlannedAndDone) {
  Context ctx({.threads = 2});
  const Evaluation evaluation = played(ctx, true);
  ASSERT_EQ(evaluation.episodes.size(), 2u);
  EXPECT_EQ(evaluation.gallery.size(), 5u);
  for (const EpisodeRecord& episode : evaluation.episodes) {
    EXPECT_EQ(episode.actions.size(), static_cast<std::size_t>(episode.steps));
    EXPECT_EQ(episode.states.size(), episode.actions.size() + 1);
    EXPECT_EQ(episode.film.size(), episode.states.size());
    // ten steps a plan
    EXPECT_EQ(episode.plans.size(), static_cast<std::size_t>((episode.steps + 9) / 10));
    for (const PlanRecord& plan : episode.plans) {
      EXPECT_GT(plan.plan_ms, 0);
      EXPECT_EQ(plan.iteration_best.size(), 2u);
      EXPECT_EQ(plan.goal_distance.size(), 2u);
      EXPECT_EQ(plan.nearest.size(), 2u);
    }
  }
}

TEST(CudaEvaluate, PlaysAsTheCpuDoes) {
  ORRERY_NEEDS_CUDA;
  Context cpu({.threads = 2}), cuda(test::on_cuda());
  const Evaluation expected = played(cpu, false);
  for (const bool films : {false, true}) {
    const Evaluation evaluation = played(cuda, films);
    ASSERT_EQ(evaluation.episodes.size(), expected.episodes.size());
    for (std::size_t e = 0; e < expected.episodes.size(); ++e) {
      const EpisodeRecord &a = evaluation.episodes[e], &b = expected.episodes[e];
      ASSERT_EQ(a.actions.size(), b.actions.size());
      for (std::size_t t = 0; t < b.actions.size(); ++t) {
        // f32 noise of the costs moves elites' means by as much as the elites' own numbers
        EXPECT_LT(test::max_difference(a.actions[t], b.actions[t]), 1e-4) << e << " step " << t;
      }
      ASSERT_EQ(a.plans.size(), b.plans.size());
      for (std::size_t p = 0; p < b.plans.size(); ++p) {
        EXPECT_GT(a.plans[p].plan_ms, 0);
        EXPECT_EQ(a.plans[p].iteration_best.size(), films ? 2u : 0u) << "watched for reports only";
        EXPECT_NEAR(a.plans[p].cost, b.plans[p].cost, 1e-4 * b.plans[p].cost);
        EXPECT_LT(test::max_difference(a.plans[p].goal_distance, b.plans[p].goal_distance), 1e-3);
        EXPECT_LT(test::max_difference(a.plans[p].surprise, b.plans[p].surprise), 1e-3);
      }
    }
  }
}

}  // namespace
}  // namespace orrery
