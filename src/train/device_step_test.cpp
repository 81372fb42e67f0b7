// A run on a CUDA device (or its emulation) against the same run on a CPU.
#include "train/device_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "train/inverse_dynamics.h"
#include "train/learner.h"
#include "train/small_run.h"

namespace orrery::train {
namespace {

#define NEEDS_CUDA                                       \
  if (std::string reason; cuda_facts(&reason).empty()) { \
    GTEST_SKIP() << "needs a CUDA device: " << reason;   \
  }                                                      \
  static_assert(true)

Context::Options on_cuda() { return {.threads = 2, .where = {Device::cuda, 0}}; }

// Settings under which the two backends come to the same numbers but for rounding: small steps,
// because AdamW turns the sign of a gradient that is nothing but rounding into a step of full size,
// and weights of unit size, because BatchNorm divides by small deviations.
TrainingSettings calm() {
  TrainingSettings settings = small_settings();
  settings.initialization = "scaled";
  settings.lr = 1e-5;
  settings.warmup_fraction = 0;
  return settings;
}

// of what Drawn observes
ColumnStatistics observed() { return {.mean = {0.5, 0, -1}, .deviation = {2, 1, 0.5}}; }

ReadoutSettings a_readout() {
  return {.column = "state", .numbers = {2, 0}, .angles = {1}, .weight = 0.7, .lr = 1e-4};
}

struct Came {
  std::vector<StepReport> reports;
  TensorMap contents;
  ValidationReport validation;
  LatentSpread spread;
};

void take_steps(Learner& learner, BatchSource& source, int steps, Came& came) {
  for (int i = 0; i < steps; ++i) came.reports.push_back(learner.step(source));
}

// `steps` steps, of which those from `turn` on are taken on the second context from what the first
// left; 0 turns not
Came run(const TrainingSettings& settings, Context::Options first, int steps, int turn = 0,
         Context::Options second = {}, bool captured = true) {
  Came came;
  Ranks alone;
  TensorMap kept;
  for (const Context::Options& options : {first, second}) {
    Context ctx(options);
    TrainingSettings own = settings;
    own.losses.added.clear();
    add_learned_losses(own, small_config(), observed());
    Drawn source(own.batch);
    source.observed = own.readout.asked();
    source.encoded = learns_dynamics(own);
    Learner learner(ctx, small_config(), own, alone);
    learner.capture_from_now_on(captured);
    learner.begin(source);
    if (!came.reports.empty()) learner.restore(kept, "the other device");
    const int done = static_cast<int>(came.reports.size());
    take_steps(learner, source, (turn > 0 && done == 0 ? turn : steps) - done, came);
    kept = learner.contents();
    learner.settle(source);
    came.validation = learner.validate(source);
    came.spread = learner.spread();
    if (static_cast<int>(came.reports.size()) == steps) break;
  }
  came.contents = std::move(kept);
  return came;
}

double norm_of(const Tensor& tensor) {
  double sum = 0;
  for (const float value : tensor.span<float>()) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

double distance(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (i64 i = 0; i < a.numel(); ++i) {
    const double away = static_cast<double>(a.data<float>()[i]) - b.data<float>()[i];
    sum += away * away;
  }
  return std::sqrt(sum);
}

// relative differences of what f32 rounding leaves after a few steps: gradients of 1e-6
void expect_alike(const Came& came, const Came& expected, double tolerance = 1e-5) {
  ASSERT_EQ(came.reports.size(), expected.reports.size());
  for (std::size_t i = 0; i < came.reports.size(); ++i) {
    SCOPED_TRACE(i);
    const StepReport &found = came.reports[i], &wanted = expected.reports[i];
    EXPECT_EQ(found.finite, wanted.finite);
    EXPECT_EQ(found.batches, wanted.batches);
    for (const LossTerm& term : kLossTerms) {
      EXPECT_NEAR(found.losses.*term.value, wanted.losses.*term.value,
                  tolerance * (0.1 + std::abs(wanted.losses.*term.value)))
          << term.name;
    }
    EXPECT_NEAR(found.losses.total, wanted.losses.total,
                tolerance * (0.1 + std::abs(wanted.losses.total)));
    ASSERT_EQ(found.losses.added.size(), wanted.losses.added.size());
    for (std::size_t k = 0; k < found.losses.added.size(); ++k) {
      EXPECT_EQ(found.losses.added[k].name, wanted.losses.added[k].name);
      EXPECT_NEAR(found.losses.added[k].value, wanted.losses.added[k].value,
                  tolerance * wanted.losses.added[k].value);
    }
    EXPECT_NEAR(found.gradient_norm, wanted.gradient_norm, 10 * tolerance * wanted.gradient_norm);
  }
  ASSERT_EQ(came.contents.size(), expected.contents.size());
  for (const auto& [name, values] : expected.contents) {
    const Tensor& found = came.contents.at(name);
    if (values.dtype() != DType::f32) {
      EXPECT_EQ(found.data<i64>()[0], values.data<i64>()[0]) << name;
    } else {
      EXPECT_LE(distance(found, values), 100 * tolerance * norm_of(values)) << name;
    }
  }
  EXPECT_NEAR(came.validation.losses.total, expected.validation.losses.total,
              10 * tolerance * std::abs(expected.validation.losses.total));
  EXPECT_NEAR(came.validation.effective_rank, expected.validation.effective_rank, 1e-3);
  EXPECT_NEAR(came.spread.std, expected.spread.std, 1e-4);
}

void expect_same_bits(const Came& came, const Came& expected) {
  ASSERT_EQ(came.contents.size(), expected.contents.size());
  for (const auto& [name, values] : expected.contents) {
    const Tensor& found = came.contents.at(name);
    ASSERT_EQ(found.byte_count(), values.byte_count()) << name;
    EXPECT_TRUE(std::equal(values.bytes(), values.bytes() + values.byte_count(), found.bytes()))
        << name;
  }
  for (std::size_t i = 0; i < came.reports.size(); ++i) {
    EXPECT_EQ(came.reports[i].losses.total, expected.reports[i].losses.total) << i;
    EXPECT_EQ(came.reports[i].gradient_norm, expected.reports[i].gradient_norm) << i;
  }
}

TEST(CudaTraining, TakesTheStepsOfTheCpu) {
  NEEDS_CUDA;
  expect_alike(run(calm(), on_cuda(), 3), run(calm(), {.threads = 1}, 3));
}

TEST(CudaTraining, EveryTermSeveralPredictionsTwoBatchesAnAverageAndGroups) {
  NEEDS_CUDA;
  TrainingSettings settings = calm();
  for (const LossTerm& term : kLossTerms) settings.losses.weights.*term.weight = 0.3;
  settings.unroll.steps = 2;
  settings.num_steps = 0;
  lewm::Config model = small_config();
  settle(settings, model);
  settings.num_steps = 4;  // what the drawn windows have
  settings.unroll.context = 2;
  settings.accumulate = 2;
  settings.ema_decay = 0.9;
  settings.settle_batches = 3;
  settings.groups = {{.match = ".*bias$", .lr_scale = 2.0, .weight_decay = 0.0}};
  expect_alike(run(settings, on_cuda(), 2), run(settings, {.threads = 1}, 2), 3e-5);
}

TEST(CudaTraining, Pldm) {
  NEEDS_CUDA;
  TrainingSettings settings = calm();
  choose_objective(settings, "pldm");
  settings.inverse_dynamics_hidden = 7;
  settings.inverse_dynamics_weight = 0.5;
  settings.inverse_dynamics_lr = 1e-4;
  const Came found = run(settings, on_cuda(), 3);
  expect_alike(found, run(settings, {.threads = 1}, 3), 3e-5);
  EXPECT_EQ(found.reports[0].losses.added.size(), 1u);
}

TEST(CudaTraining, AReadOutOfRecordedState) {
  NEEDS_CUDA;
  TrainingSettings settings = calm();
  settings.readout = a_readout();
  settings.inverse_dynamics_hidden = 7;
  settings.inverse_dynamics_weight = 0.5;
  settings.inverse_dynamics_lr = 1e-4;
  settings.accumulate = 2;
  settings.ema_decay = 0.9;
  const Came found = run(settings, on_cuda(), 4), expected = run(settings, {.threads = 1}, 4);
  expect_alike(found, expected, 3e-5);
  ASSERT_EQ(found.reports[0].losses.added.size(), 2u);
  EXPECT_EQ(found.contents.at("readout.steps").data<i64>()[0], 4);
  // it learned: the first step has a rate of 0 or more, the others more
  settings.readout.lr = 0;
  const Came rested = run(settings, on_cuda(), 4);
  EXPECT_GT(
      distance(found.contents.at("readout.parameters"), rested.contents.at("readout.parameters")),
      1e-5);
}

TEST(CudaTraining, DynamicsAlone) {
  NEEDS_CUDA;
  TrainingSettings settings = calm();
  settings.learn = "dynamics";
  lewm::Config model = small_config();
  settle(settings, model);
  settings.num_steps = 4;  // what the drawn windows have
  const Came found = run(settings, on_cuda(), 3);
  expect_alike(found, run(settings, {.threads = 1}, 3));
  EXPECT_EQ(found.reports[0].losses.sigreg, 0);
}

TEST(CudaTraining, ProductsOfBf16) {
  NEEDS_CUDA;
  TrainingSettings settings = calm();
  settings.precision = Precision::bf16;
  // both round factors to 8 bits; a sum that lies beside the middle between two rounds either way
  const Came found = run(settings, on_cuda(), 2), expected = run(settings, {.threads = 1}, 2);
  for (std::size_t i = 0; i < found.reports.size(); ++i) {
    EXPECT_NEAR(found.reports[i].losses.total, expected.reports[i].losses.total, 0.01);
    EXPECT_NEAR(found.reports[i].gradient_norm, expected.reports[i].gradient_norm,
                0.05 * expected.reports[i].gradient_norm);
  }
}

TEST(CudaTraining, CapturedWorkIsTheSameWork) {
  NEEDS_CUDA;
  TrainingSettings settings = small_settings();
  settings.accumulate = 2;
  settings.inverse_dynamics_hidden = 7;
  settings.readout = a_readout();
  // places take turns: after the first two steps every batch is a replay
  expect_same_bits(run(settings, on_cuda(), 5), run(settings, on_cuda(), 5, 0, {}, false));
}

TEST(CudaTraining, ARunGoesOnOnAnotherDevice) {
  NEEDS_CUDA;
  TrainingSettings settings = calm();
  settings.ema_decay = 0.5;
  settings.inverse_dynamics_hidden = 7;
  settings.readout = a_readout();
  const Context::Options cpu = {.threads = 1};
  const Came expected = run(settings, cpu, 4);
  expect_alike(run(settings, cpu, 4, 2, on_cuda()), expected);
  expect_alike(run(settings, on_cuda(), 4, 2, cpu), expected);
  // and on the same kind to the same bits
  expect_same_bits(run(settings, on_cuda(), 4, 2, on_cuda()), run(settings, on_cuda(), 4));
}

TEST(CudaTraining, ALossThatIsNotFiniteLeavesWeightsAsTheyWere) {
  NEEDS_CUDA;
  Context ctx(on_cuda());
  Ranks alone;
  TrainingSettings settings = small_settings();
  settings.readout = a_readout();
  add_learned_losses(settings, small_config(), observed());
  Drawn source(settings.batch);
  source.observed = true;
  Learner learner(ctx, small_config(), settings, alone);
  learner.begin(source);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(learner.step(source).finite);
  TensorMap before = learner.contents();
  source.poisoned_step = 4;
  EXPECT_TRUE(learner.step(source).finite);  // it was sent ahead
  before = learner.contents();
  const StepReport report = learner.step(source);
  EXPECT_FALSE(report.finite);
  EXPECT_FALSE(std::isfinite(report.losses.total));
  EXPECT_EQ(learner.steps(), 4);
  const TensorMap after = learner.contents();
  for (const char* name :
       {"parameters", "m", "v", "readout.parameters", "readout.m", "readout.v", "readout.steps"}) {
    const Tensor &was = before.at(name), &is = after.at(name);
    EXPECT_TRUE(std::equal(was.bytes(), was.bytes() + was.byte_count(), is.bytes())) << name;
  }
}

// The same batches in two places of page-locked memory that take turns: each stays for one more
// call.
class Locked final : public BatchSource {
 public:
  Locked(Context& ctx, i64 batch) : drawn_(batch) {
    for (Block& block : blocks_) block = Block::staging(ctx, kBytes);
  }
  i64 training_windows() const override { return drawn_.training_windows(); }
  i64 validation_windows() const override { return drawn_.validation_windows(); }
  Batch training_batch(i64 step) override { return placed(drawn_.training_batch(step)); }
  Batch validation_batch(i64 index) override { return placed(drawn_.validation_batch(index)); }

 private:
  static constexpr std::size_t kBytes = 1 << 16;
  Batch placed(const Batch& batch) {
    Block& block = blocks_[calls_++ % blocks_.size()];
    std::fill_n(block.data(), kBytes, std::byte{0x7f});
    Arena arena(block);
    const auto pixels = arena.take<u8, 5>(batch.pixels.sizes());
    const auto actions = arena.take<float, 3>(batch.actions.sizes());
    std::copy_n(batch.pixels.data(), batch.pixels.numel(), pixels.data());
    std::copy_n(batch.actions.data(), batch.actions.numel(), actions.data());
    return {.pixels = pixels, .actions = actions, .locked = true};
  }

  Drawn drawn_;
  std::array<Block, 2> blocks_;
  std::size_t calls_ = 0;
};

TEST(CudaTraining, BatchesInLockedMemoryGoAsTheyAre) {
  NEEDS_CUDA;
  TrainingSettings settings = small_settings();
  settings.settle_batches = 3;
  const auto left = [&](bool locked) {
    Context ctx(on_cuda());
    Ranks alone;
    Drawn drawn(settings.batch);
    Locked there(ctx, settings.batch);
    BatchSource& source = locked ? static_cast<BatchSource&>(there) : drawn;
    Came came;
    Learner learner(ctx, small_config(), settings, alone);
    learner.begin(source);
    for (int round = 0; round < 2; ++round) {
      take_steps(learner, source, 3, came);
      learner.settle(source);
      came.validation = learner.validate(source);
    }
    came.contents = learner.contents();
    return came;
  };
  const Came found = left(true), expected = left(false);
  expect_same_bits(found, expected);
  EXPECT_EQ(found.validation.losses.total, expected.validation.losses.total);
}

class KnowsTheHostAlone final : public BatchLoss {
 public:
  std::string name() const override { return "of_ones_own"; }
  double value_and_gradient(Context&, const LossInputs&, double, const LossSlopes&) override {
    return 0;
  }
};

TEST(CudaTraining, RefusesWhatADeviceCannot) {
  NEEDS_CUDA;
  Context ctx(on_cuda());
  Ranks alone;
  TrainingSettings settings = small_settings();
  settings.losses.added.push_back({std::make_shared<KnowsTheHostAlone>(), 1.0});
  Drawn source(settings.batch);
  Learner learner(ctx, small_config(), settings, alone);
  learner.begin(source);
  try {
    learner.step(source);
    FAIL() << "a loss of the host was computed on a device";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("of_ones_own"));
  }
}

}  // namespace
}  // namespace orrery::train
