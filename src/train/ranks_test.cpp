#include "train/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "train/learner.h"
#include "train/small_run.h"

// Runs that ranks share, as threads of this process, against one process that has everything.

namespace orrery::train {
namespace {

using testing::HasSubstr;

// what is left out is drawn for a place in the whole batch
lewm::Config config_with_dropout() {
  lewm::Config config = small_config();
  config.predictor.dropout = 0.2f;
  config.predictor.embedding_dropout = 0.1f;
  return config;
}

// every term of the loss, so that what each has over the batch is seen
TrainingSettings all_terms() {
  TrainingSettings settings;
  settings.steps = 4;
  settings.batch = 7;
  settings.lr = 1e-4;
  settings.warmup_fraction = 0;
  settings.losses.projections = 16;
  settings.validation_batches = 2;
  // with the small weights of the other way BatchNorm divides by tiny deviations, which enlarges
  // rounding a hundredfold
  settings.initialization = "scaled";
  for (const LossTerm& term : kLossTerms) settings.losses.weights.*term.weight = 0.3;
  settings.unroll.steps = 2;
  lewm::Config model = config_with_dropout();
  settle(settings, model);
  return settings;
}

// What a rank has come to.
struct Come {
  std::vector<StepReport> steps;
  std::vector<float> first_moment;  // after one step: a tenth of the clipped gradient
  std::vector<float> weights, buffers;
  ValidationReport validation;
  LatentSpread spread;
};

std::vector<float> values_of(const Tensor& tensor) {
  const auto values = tensor.span<float>();
  return {values.begin(), values.end()};
}

Come learn(const TrainingSettings& settings, Ranks& ranks, int threads) {
  Context ctx({.threads = threads});
  Drawn source(ranks.part_of(settings.batch), settings.num_steps);
  Learner learner(ctx, config_with_dropout(), settings, ranks);
  learner.begin(source);
  Come come;
  for (i64 i = 0; i < settings.steps; ++i) {
    come.steps.push_back(learner.step(source));
    if (i == 0) come.first_moment = values_of(learner.contents().at("m"));
  }
  learner.must_agree();
  come.spread = learner.spread();
  come.validation = learner.validate(source);
  come.weights = values_of(learner.weights().parameters);
  come.buffers = values_of(learner.weights().buffers);
  return come;
}

// the error of rank 0, empty when there is none
std::string on_threads(int count, const std::function<void(dist::Lockstep&)>& work) {
  auto worlds = dist::worlds_of_threads(count);
  std::string error;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < count; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        dist::in_lockstep(*worlds[static_cast<std::size_t>(rank)], {}, work);
      } catch (const std::exception& thrown) {
        if (rank == 0) error = thrown.what();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return error;
}

std::map<int, Come> learn_on(int count, const TrainingSettings& settings) {
  std::mutex mutex;
  std::map<int, Come> all;
  const std::string error = on_threads(count, [&](dist::Lockstep& lockstep) {
    Ranks ranks(&lockstep);
    Come come = learn(settings, ranks, 1);
    const std::lock_guard lock(mutex);
    all[lockstep.rank()] = std::move(come);
  });
  EXPECT_EQ(error, "");
  return all;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
  }
  return worst;
}

void expect_near(const LossValues& one, const LossValues& other, double tolerance) {
  for (const LossTerm& term : kLossTerms) {
    EXPECT_NEAR(one.*term.value, other.*term.value, tolerance) << term.name;
  }
  EXPECT_NEAR(one.total, other.total, tolerance);
}

TEST(TrainOnRanks, EqualsOneProcessToRounding) {
  for (const i64 accumulate : {1, 2}) {
    TrainingSettings settings = all_terms();
    settings.accumulate = accumulate;
    Ranks alone;
    const Come whole = learn(settings, alone, 2);
    for (const int count : {2, 3}) {  // 3 + 4 windows, 2 + 2 + 3
      SCOPED_TRACE(text(count, " ranks, ", accumulate, " batches a step"));
      const auto all = learn_on(count, settings);
      ASSERT_EQ(static_cast<int>(all.size()), count);
      for (const auto& [rank, come] : all) {
        SCOPED_TRACE(text("rank ", rank));
        // Before the first update only the order of f32 sums differs. Measured: losses 5e-8, the
        // norm 1e-7, moments (a tenth of a gradient of length 1) 6e-9.
        expect_near(come.steps[0].losses, whole.steps[0].losses, 5e-7);
        EXPECT_NEAR(come.steps[0].gradient_norm, whole.steps[0].gradient_norm,
                    1e-6 * whole.steps[0].gradient_norm);
        EXPECT_LE(largest_difference(come.first_moment, whole.first_moment), 5e-8);
        // AdamW divides by the size of a gradient, so that where one is but rounding its sign may
        // turn: such a weight moves by up to the learning rate a step, and changes little. After
        // four steps 1.5e-4 were measured for weights, 7e-5 and 3e-5 for what follows.
        EXPECT_LE(largest_difference(come.weights, whole.weights), 4 * 2 * settings.lr);
        expect_near(come.steps.back().losses, whole.steps.back().losses, 3e-4);
        EXPECT_LE(largest_difference(come.buffers, whole.buffers), 3e-4);
        expect_near(come.validation.losses, whole.validation.losses, 3e-4);
        EXPECT_NEAR(come.validation.latent_std, whole.validation.latent_std, 3e-4);
        EXPECT_NEAR(come.spread.effective_rank, whole.spread.effective_rank, 1e-2);
        // ranks among each other: to the last bit
        EXPECT_TRUE(come.weights == all.at(0).weights);
        EXPECT_TRUE(come.buffers == all.at(0).buffers);
        EXPECT_EQ(come.validation.losses.total, all.at(0).validation.losses.total);
        EXPECT_EQ(come.steps.back().gradient_norm, all.at(0).steps.back().gradient_norm);
      }
      // a second run comes to the same bits
      EXPECT_TRUE(learn_on(count, settings).at(0).weights == all.at(0).weights);
    }
  }
}

TEST(TrainOnRanks, WhatHasComeApartIsFound) {
  const std::string error = on_threads(3, [](dist::Lockstep& lockstep) {
    Ranks ranks(&lockstep);
    const TrainingSettings settings = all_terms();
    Context ctx({.threads = 1});
    Drawn source(ranks.part_of(settings.batch), settings.num_steps);
    Learner learner(ctx, config_with_dropout(), settings, ranks);
    learner.begin(source);
    learner.must_agree();
    TensorMap contents = learner.contents();
    // one bit of one weight
    if (lockstep.rank() == 2) contents.at("parameters").bytes()[17] ^= std::byte{1};
    learner.restore(contents, "test");
    learner.must_agree();
  });
  EXPECT_THAT(error, HasSubstr("rank 2 on "));
  EXPECT_THAT(error, HasSubstr(" does not have the weights of step 0 of rank 0 on "));
}

TEST(TrainOnRanks, SmallBatchesCannotBeShared) {
  const std::string error = on_threads(2, [](dist::Lockstep& lockstep) {
    Ranks ranks(&lockstep);
    EXPECT_EQ(ranks.part_of(2).first, lockstep.rank());
    EXPECT_EQ(ranks.part_of(2).count, 1);
    ranks.part_of(1);
  });
  EXPECT_THAT(error, HasSubstr("a batch of 1 windows cannot be shared by 2 ranks"));
}

// gradients do not hang on the number of threads
TEST(TrainOnRanks, AnyNumberOfThreadsComesToTheSameBits) {
  const TrainingSettings settings = all_terms();
  Ranks alone;
  const Come one = learn(settings, alone, 1);
  for (const int threads : {2, 3}) {
    const Come more = learn(settings, alone, threads);
    EXPECT_TRUE(more.weights == one.weights) << threads << " threads";
    EXPECT_TRUE(more.buffers == one.buffers) << threads << " threads";
  }
}

}  // namespace
}  // namespace orrery::train
