#include "eval/decisions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/random.h"
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
  config.action = {.input = 4, .smoothed = 5, .output = 20, .mlp_scale = 2};
  return config;
}

std::vector<u8> picture(u64 seed) {
  std::vector<u8> bytes(28 * 28 * 3);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<u8>(philox(seed, 1, i)[0]);
  return bytes;
}

class Decisions : public testing::Test {
 protected:
  DecisionProblem problem() const {
    DecisionProblem problem = {.now = View<const u8, 3>(now_.data(), {28, 28, 3}),
                               .goal = View<const u8, 3>(goal_.data(), {28, 28, 3}),
                               .horizon = 3,
                               .seed = 5};
    problem.planner.samples = 24;
    problem.planner.elites = 4;
    problem.planner.iterations = 3;
    return problem;
  }

  std::vector<u8> now_ = picture(1), goal_ = picture(2);
};
using CudaDecisions = Decisions;

TEST_F(Decisions, OfTheSameModelAreTheSame) {
  Context one({.threads = 1}), two({.threads = 2});
  const lewm::Model a(one, lewm::seeded_weights(small_config(), "same"));
  const lewm::Model b(two, lewm::seeded_weights(small_config(), "same"));
  const DecisionReport report = compare_decisions(one, a, two, b, problem());
  ASSERT_EQ(report.iterations.size(), 3u);
  for (const IterationAgreement& iteration : report.iterations) {
    EXPECT_EQ(iteration.candidates, 0);
    EXPECT_EQ(iteration.elite_overlap, 1);
    EXPECT_NEAR(iteration.rank_correlation, 1, 1e-12);
  }
  EXPECT_EQ(report.actions, 0);
  EXPECT_EQ(report.lost(), 0);
  EXPECT_LT(report.judged_reference, report.judged_idle) << "the planner found nothing";
  EXPECT_TRUE(report.ok());
}

TEST_F(Decisions, OfAnotherModelAreNot) {
  Context ctx({.threads = 1});
  const lewm::Model a(ctx, lewm::seeded_weights(small_config(), "one"));
  const lewm::Model b(ctx, lewm::seeded_weights(small_config(), "another"));
  const DecisionReport report = compare_decisions(ctx, a, ctx, b, problem());
  EXPECT_EQ(report.iterations[0].candidates, 0) << "both draw the same";
  EXPECT_GT(report.iterations[1].candidates, 0);
  EXPECT_LT(report.iterations[0].rank_correlation, 0.9);
  EXPECT_LT(report.iterations[0].elite_overlap, 1);
  EXPECT_GT(report.actions, 0);
  EXPECT_GE(report.actions, report.first_action);
  EXPECT_GT(report.lost(), 0.05);
  EXPECT_FALSE(report.ok());
}

// random weights leave hardly a difference between candidates: the worst case for coarse numbers
TEST_F(CudaDecisions, OfADeviceAreThoseOfTheCpu) {
  ORRERY_NEEDS_CUDA;
  Context cpu({.threads = 1}), cuda(test::on_cuda());
  const lewm::Model reference(cpu, lewm::seeded_weights(small_config(), "device"));
  const lewm::Model model(cuda, lewm::seeded_weights(small_config(), "device"));
  const DecisionReport report = compare_decisions(cuda, model, cpu, reference, problem());
  // normal numbers may differ in their last bit
  EXPECT_LE(report.iterations[0].candidates, 1e-6);
  EXPECT_GT(report.iterations[0].rank_correlation, 0.999);
  EXPECT_EQ(report.iterations[0].elite_overlap, 1);
  EXPECT_LT(report.first_action, 1e-3);
  EXPECT_TRUE(report.ok()) << report.lost();
}

TEST(RankCorrelation, RanksTiesAndNaN) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  EXPECT_DOUBLE_EQ(rank_correlation({1, 2, 3}, {10, 20, 300}), 1);
  EXPECT_DOUBLE_EQ(rank_correlation({1, 2, 3}, {3, 2, 1}), -1);
  // ranks 0, 1.5, 1.5, 3 and 0, 1, 2, 3: products 4.5, of squares 4.5 and 5
  EXPECT_NEAR(rank_correlation({1, 2, 2, 3}, {1, 2, 3, 4}), 4.5 / std::sqrt(4.5 * 5), 1e-12);
  EXPECT_DOUBLE_EQ(rank_correlation({1, kNaN, 0}, {2, 3, 1}), 1);
  EXPECT_DOUBLE_EQ(rank_correlation({2, 2, 2}, {1, 1, 1}), 1);
  EXPECT_DOUBLE_EQ(rank_correlation({2, 2, 2}, {1, 2, 3}), 0);
  EXPECT_THROW(rank_correlation({1}, {1, 2}), Error);
}

TEST(DecisionReport, LossIsAShareOfTheGain) {
  DecisionReport report = {.judged = 11, .judged_reference = 10, .judged_idle = 30};
  EXPECT_DOUBLE_EQ(report.lost(), 0.05);
  EXPECT_TRUE(report.ok());
  report.judged = 12;
  EXPECT_FALSE(report.ok());
  report.judged = 9;
  EXPECT_LT(report.lost(), 0);
  EXPECT_TRUE(report.ok());
  report.judged = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(report.ok());
  // planning that gains nothing
  report = {.judged = 11, .judged_reference = 10, .judged_idle = 10};
  EXPECT_FALSE(report.ok());
}

}  // namespace
}  // namespace orrery
