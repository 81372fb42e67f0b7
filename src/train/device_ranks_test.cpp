// Runs that ranks share, each with a CUDA device (or its emulation), against one process that has
// everything: on a device, and on a CPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "dist/test_devices.h"
#include "train/checkpoint.h"
#include "train/loop.h"
#include "train/ranks_run.h"
#include "train/run_folder.h"

namespace orrery::train {
namespace {

namespace fs = std::filesystem;
using dist::SumsBy;
using testing::HasSubstr;
using TrainingRun = Run;  // testing::Test has a Run of its own

DeviceChoice one_device(int) { return {Device::cuda, 0}; }
DeviceChoice own_device(int rank) { return {Device::cuda, rank}; }

Context::Options on_cuda() { return {.threads = 1, .where = one_device(0)}; }

struct Tolerances {
  double losses, norm, moments;  // of the first step; the norm's is relative
  double later;                  // of what comes after the last
};
// Before the first update only the order of f32 sums differs, as between ranks of a CPU; what comes
// after is the same bound as there (ranks_test.cpp).
constexpr Tolerances kRounding = {5e-7, 2e-6, 5e-8, 3e-4};
// Factors of products are rounded to 8 bits: where a sum of f32 turns such a rounding, what follows
// differs by 2^-9 of a number. One in some hundreds does.
constexpr Tolerances kRoundingOfBf16 = {5e-3, 2e-2, 5e-3, 5e-2};

void expect_alike(const std::map<int, Come>& all, int count, const Come& whole, double lr,
                  const Tolerances& within) {
  ASSERT_EQ(static_cast<int>(all.size()), count);
  for (const auto& [rank, come] : all) {
    SCOPED_TRACE(text("rank ", rank, " of ", count));
    expect_near(come.steps[0].losses, whole.steps[0].losses, within.losses);
    EXPECT_NEAR(come.steps[0].gradient_norm, whole.steps[0].gradient_norm,
                within.norm * whole.steps[0].gradient_norm);
    EXPECT_LE(largest_difference(come.first_moment, whole.first_moment), within.moments);
    // a gradient that is but rounding may turn its sign, and AdamW moves by lr whatever its size
    const auto steps = static_cast<double>(whole.steps.size());
    EXPECT_LE(largest_difference(come.weights, whole.weights), steps * 2 * lr);
    expect_near(come.steps.back().losses, whole.steps.back().losses, within.later);
    EXPECT_LE(largest_difference(come.buffers, whole.buffers), within.later);
    expect_near(come.validation.losses, whole.validation.losses, within.later);
    EXPECT_NEAR(come.validation.latent_std, whole.validation.latent_std, within.later);
    EXPECT_NEAR(come.spread.effective_rank, whole.spread.effective_rank, 0.1);
    // ranks among each other: to the last bit
    EXPECT_TRUE(come.weights == all.at(0).weights);
    EXPECT_TRUE(come.buffers == all.at(0).buffers);
    EXPECT_EQ(come.validation.losses.total, all.at(0).validation.losses.total);
    EXPECT_EQ(come.steps.back().gradient_norm, all.at(0).steps.back().gradient_norm);
  }
}

// all terms, dropout, several predictions, a part of a batch for each rank: what a rank's part must
// not know is seen
TrainingSettings three_steps() {
  TrainingSettings settings = all_terms();
  settings.steps = 3;
  return settings;
}

TEST(CudaTrainOnRanks, ThroughTheHostEqualsOneProcess) {
  ORRERY_NEEDS_A_DEVICE;
  const TrainingSettings settings = three_steps();
  Ranks alone;
  const Come device = learn(settings, alone, on_cuda());
  const Come cpu = learn(settings, alone, {.threads = 1});
  for (const int count : {2, 3}) {  // 3 + 4 windows, 2 + 2 + 3
    const auto all = learn_on(count, settings, one_device, SumsBy::host);
    expect_alike(all, count, device, settings.lr, kRounding);
    expect_alike(all, count, cpu, settings.lr, kRounding);
    // and a second run to the same bits
    if (count == 2) {
      EXPECT_TRUE(learn_on(count, settings, one_device, SumsBy::host).at(0).weights ==
                  all.at(0).weights);
    }
  }
}

TEST(CudaTrainOnRanks, ByNcclEqualsOneProcess) {
  ORRERY_NEEDS_NCCL(2);
  const TrainingSettings settings = three_steps();
  Ranks alone;
  const Come whole = learn(settings, alone, on_cuda());
  const auto all = learn_on(2, settings, own_device, SumsBy::nccl);
  expect_alike(all, 2, whole, settings.lr, kRounding);
  EXPECT_TRUE(learn_on(2, settings, own_device, SumsBy::nccl).at(0).weights == all.at(0).weights);
}

TEST(CudaTrainOnRanks, ByNcclOnThreeTwoBatchesAStep) {
  ORRERY_NEEDS_NCCL(3);
  TrainingSettings settings = three_steps();
  settings.accumulate = 2;
  Ranks alone;
  const Come whole = learn(settings, alone, on_cuda());
  expect_alike(learn_on(3, settings, own_device, SumsBy::nccl), 3, whole, settings.lr, kRounding);
}

TEST(CudaTrainOnRanks, ProductsOfBf16) {
  ORRERY_NEEDS_A_DEVICE;
  TrainingSettings settings = three_steps();
  settings.precision = Precision::bf16;
  Ranks alone;
  const Come whole = learn(settings, alone, on_cuda());
  for (const int count : {2, 3}) {
    expect_alike(learn_on(count, settings, one_device, SumsBy::host), count, whole, settings.lr,
                 kRoundingOfBf16);
  }
}

TEST(CudaTrainOnRanks, UnlikeDevicesAreToldApart) {
  ORRERY_NEEDS_A_DEVICE;
  const std::string error = on_threads(2, [](dist::Lockstep& lockstep) {
    Ranks ranks(&lockstep);
    Context ctx(lockstep.rank() == 0 ? Context::Options{.threads = 1} : on_cuda());
    const TrainingSettings settings = all_terms();
    Learner learner(ctx, config_with_dropout(), settings, ranks);
  });
  EXPECT_THAT(error, HasSubstr("rank 1 on "));
  EXPECT_THAT(error, HasSubstr(" does not have the kind of device of rank 0 on "));
  EXPECT_THAT(error, HasSubstr(": cuda is not cpu"));
}

class CudaTrainRun : public testing::Test {
 protected:
  CudaTrainRun() : root_(fs::temp_directory_path() / text("orrery-device-ranks-", getpid())) {
    fs::remove_all(root_);
  }
  ~CudaTrainRun() override { fs::remove_all(root_); }

  TrainingRun run_into(const char* folder, SumsBy by) const {
    TrainingRun run;
    run.model = small_config();
    run.settings = small_settings();  // 12 steps, a checkpoint every 5
    run.settings.initialization = "scaled";
    run.image_size = 8;
    run.statistics = {{"action", {{"mean", {0.0}}, {"std", {1.0}}}}};
    run.output = root_ / folder;
    run.resume = true;
    run.sums = by;
    return run;
  }

  // Windows of a run, of which one rank's disk breaks at a held-out batch.
  class Breaking final : public BatchSource {
   public:
    Breaking(const BatchPart& part, i64 breaks_at) : drawn_(part), breaks_at_(breaks_at) {}
    i64 training_windows() const override { return drawn_.training_windows(); }
    i64 validation_windows() const override { return drawn_.validation_windows(); }
    Batch training_batch(i64 step) override { return drawn_.training_batch(step); }
    // before the pass whose sums the other ranks' devices then wait for
    Batch validation_batch(i64 index) override {
      check(validated_++ != breaks_at_, "the disk is broken");
      return drawn_.validation_batch(index);
    }

   private:
    Drawn drawn_;
    i64 breaks_at_, validated_ = 0;
  };

  // the error of rank 0, empty when there is none
  static std::string train_on(int count, const TrainingRun& run, bool own_devices,
                              i64 breaks_at = -1) {
    return on_threads(count, [&](dist::Lockstep& lockstep) {
      const int rank = lockstep.rank();
      Context ctx({.threads = 1, .where = own_devices ? own_device(rank) : one_device(rank)});
      const BatchPart part = Ranks(&lockstep).part_of(run.settings.batch);
      Breaking source(part, rank == 1 ? breaks_at : -1);
      Observer silent;
      train(ctx, run, source, silent, &lockstep);
    });
  }

  // A rank is lost after step 8, while the other's device waits for it; the rest is done by other
  // ranks, and is the run that was not cut.
  void expect_to_go_on(SumsBy by, bool own_devices) {
    const TrainingRun cut = run_into("cut", by), whole = run_into("whole", by);
    EXPECT_THAT(train_on(2, cut, own_devices, 3), HasSubstr("the disk is broken"));
    EXPECT_EQ(checkpoints_in(cut.output), std::vector<i64>{5});
    EXPECT_NO_THROW(read_checkpoint(cut.output / "checkpoint_5.safetensors"));
    EXPECT_EQ(train_on(2, cut, own_devices), "");
    EXPECT_EQ(train_on(2, whole, own_devices), "");
    const auto weights = [](const TrainingRun& run) {
      return values_of(lewm::load_model(run.output).parameters);
    };
    EXPECT_TRUE(weights(cut) == weights(whole));

    const TrainingRun turned = run_into("turned", by);
    EXPECT_THAT(train_on(2, turned, own_devices, 3), HasSubstr("the disk is broken"));
    EXPECT_EQ(train_on(1, turned, own_devices), "");
    // other sums after step 5: each weight within what AdamW moves it
    EXPECT_LE(largest_difference(weights(turned), weights(whole)), 7 * 2 * cut.settings.lr);
  }

  fs::path root_;
};

TEST_F(CudaTrainRun, WithoutARankItEndsAndGoesOnThroughTheHost) {
  ORRERY_NEEDS_A_DEVICE;
  expect_to_go_on(SumsBy::host, false);
}

TEST_F(CudaTrainRun, WithoutARankItEndsAndGoesOnByNccl) {
  ORRERY_NEEDS_NCCL(2);
  expect_to_go_on(SumsBy::nccl, true);
}

TEST_F(CudaTrainRun, RanksOfOtherSettingsAreToldApart) {
  ORRERY_NEEDS_A_DEVICE;
  const std::string error = on_threads(2, [&](dist::Lockstep& lockstep) {
    TrainingRun run = run_into("unlike", SumsBy::host);
    run.settings.seed += static_cast<u64>(lockstep.rank());
    Context ctx(on_cuda());
    Drawn source(Ranks(&lockstep).part_of(run.settings.batch));
    Observer silent;
    train(ctx, run, source, silent, &lockstep);
  });
  EXPECT_THAT(error, HasSubstr("rank 1 was started for another run than rank 0: training.seed"));
}

}  // namespace
}  // namespace orrery::train
