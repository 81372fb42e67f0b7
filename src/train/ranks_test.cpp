#include "train/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "train/ranks_run.h"

// Runs that ranks share, as threads of this process, against one process that has everything.

namespace orrery::train {
namespace {

using testing::HasSubstr;

TEST(TrainOnRanks, EqualsOneProcessToRounding) {
  for (const i64 accumulate : {1, 2}) {
    TrainingSettings settings = all_terms();
    settings.accumulate = accumulate;
    Ranks alone;
    const Come whole = learn(settings, alone, {.threads = 2});
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
  const Come one = learn(settings, alone, {.threads = 1});
  for (const int threads : {2, 3}) {
    const Come more = learn(settings, alone, {.threads = threads});
    EXPECT_TRUE(more.weights == one.weights) << threads << " threads";
    EXPECT_TRUE(more.buffers == one.buffers) << threads << " threads";
  }
}

}  // namespace
}  // namespace orrery::train
