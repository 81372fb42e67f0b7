#include "train/loop.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <vector>

#include "base/random.h"
#include "io/safetensors.h"
#include "models/lewm/weights.h"
#include "train/checkpoint.h"
#include "train/schedule.h"

namespace orrery::train {
namespace {

namespace fs = std::filesystem;
using TrainingRun = Run;  // testing::Test has a Run of its own

lewm::Config small_config() {
  lewm::Config config;
  config.encoder = {.image_size = 8, .patch = 4, .hidden = 8, .layers = 2, .heads = 2, .mlp = 12};
  config.predictor = {.window = 3,
                      .input = 6,
                      .hidden = 6,
                      .output = 6,
                      .depth = 1,
                      .heads = 2,
                      .head_dim = 4,
                      .mlp = 10,
                      .dropout = 0.1f};
  config.action = {.input = 4, .smoothed = 3, .output = 6, .mlp_scale = 2};
  config.projector = {.input = 8, .hidden = 10, .output = 6};
  config.pred_proj = {.input = 6, .hidden = 10, .output = 6};
  return config;
}

// pictures and actions drawn by their index
class Drawn : public BatchSource {
 public:
  explicit Drawn(i64 batch)
      : pixels_(DType::uint8, {batch, 4, 8, 8, 3}), actions_(DType::f32, {batch, 4, 4}) {}

  i64 training_windows() const override { return 100; }
  i64 validation_windows() const override { return 20; }
  Batch training_batch(i64 step) override {
    fill(static_cast<u64>(step));
    if (step == poisoned_step) actions_.data<float>()[0] = INFINITY;
    return views();
  }
  Batch validation_batch(i64 index) override {
    fill(static_cast<u64>(index) + 1000000);
    return views();
  }

  i64 poisoned_step = -1;
  bool constant = false;  // every frame the same: nothing to tell apart

 private:
  void fill(u64 key) {
    for (i64 i = 0; i < pixels_.numel(); ++i) {
      pixels_.data<u8>()[i] =
          constant ? u8{128} : static_cast<u8>(philox(11, key, static_cast<u64>(i))[0]);
    }
    fill_normal(12, key, 0, actions_.numel(), actions_.data<float>());
  }
  Batch views() const { return {pixels_.view<u8, 5>(), actions_.view<float, 3>()}; }

  Tensor pixels_, actions_;
};

class TrainLoop : public testing::Test {
 protected:
  TrainLoop() : root_(fs::temp_directory_path() / text("orrery-train-", getpid())) {
    fs::remove_all(root_);
  }
  ~TrainLoop() override { fs::remove_all(root_); }

  TrainingRun run_into(const char* folder) const {
    TrainingRun run;
    run.model = small_config();
    run.settings.steps = 12;
    run.settings.batch = 5;
    run.settings.lr = 1e-3;
    run.settings.losses.projections = 16;
    run.settings.validation_every = 4;
    run.settings.validation_batches = 2;
    run.settings.checkpoint_every = 5;
    run.settings.log_every = 1;
    run.image_size = 8;
    run.statistics = {{"action", {{"mean", {0.0}}, {"std", {1.0}}}}};
    run.output = root_ / folder;
    return run;
  }
  Outcome start(const TrainingRun& run, Observer& observer) {
    Context ctx({.threads = 2});
    Drawn source(run.settings.batch);
    return train(ctx, run, source, observer);
  }
  Outcome start(const TrainingRun& run) {
    Observer silent;
    return start(run, silent);
  }
  static std::string contents(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream out;
    out << file.rdbuf();
    return out.str();
  }

  fs::path root_;
};

// throws after some steps, as a power cut would
struct Interruption {};
struct Interrupter : Observer {
  i64 at = 0;
  void stepped(i64 step, double, const StepReport&) override {
    if (step == at) throw Interruption{};
  }
};
struct Stopper : Observer {
  i64 steps = 0;
  void stepped(i64, double, const StepReport&) override { ++steps; }
  bool wants_to_stop() override { return steps == 3; }
};

TEST_F(TrainLoop, LeavesAModelThatLoads) {
  const TrainingRun run = run_into("plain");
  const Outcome outcome = start(run);
  EXPECT_EQ(outcome.kind, Outcome::Kind::finished);
  EXPECT_EQ(outcome.steps, 12);
  const lewm::Weights weights = lewm::load_model(run.output);
  EXPECT_EQ(weights.batches_tracked, 12);
  for (const char* name : {"statistics.json", "training.json", "metrics.jsonl"}) {
    EXPECT_TRUE(fs::exists(run.output / name)) << name;
  }
}

TEST_F(TrainLoop, ResumesToTheSameBits) {
  const TrainingRun whole = run_into("whole");
  start(whole);
  TrainingRun cut = run_into("cut");
  for (const i64 at : {3, 8, 11}) {  // before the first checkpoint, and between the others
    Interrupter interrupter;
    interrupter.at = at;
    EXPECT_THROW(start(cut, interrupter), Interruption);
    cut.resume = true;
  }
  EXPECT_EQ(start(cut).kind, Outcome::Kind::finished);
  for (const char* name : {"weights.safetensors", "checkpoint.safetensors", "metrics.jsonl"}) {
    EXPECT_TRUE(contents(whole.output / name) == contents(cut.output / name)) << name;
  }
}

TEST_F(TrainLoop, StopsPolitelyWithACheckpoint) {
  const TrainingRun whole = run_into("whole");
  start(whole);
  TrainingRun cut = run_into("cut");
  Stopper stopper;
  const Outcome outcome = start(cut, stopper);
  EXPECT_EQ(outcome.kind, Outcome::Kind::stopped);
  EXPECT_EQ(outcome.steps, 3);
  cut.resume = true;
  start(cut);
  EXPECT_TRUE(contents(whole.output / "weights.safetensors") ==
              contents(cut.output / "weights.safetensors"));
}

TEST_F(TrainLoop, NotANumberStopsAndKeepsTheLastCheckpoint) {
  const TrainingRun run = run_into("poisoned");
  Context ctx({.threads = 1});
  Drawn source(run.settings.batch);
  source.poisoned_step = 7;
  Observer silent;
  const Outcome outcome = train(ctx, run, source, silent);
  EXPECT_EQ(outcome.kind, Outcome::Kind::not_finite);
  EXPECT_NE(outcome.reason.find("step 8"), std::string::npos) << outcome.reason;
  lewm::Weights weights(run.model);
  const TensorMap kept = read_safetensors(run.output / "checkpoint.safetensors");
  EXPECT_EQ(kept.at("steps").data<i64>()[0], 5);
}

TEST_F(TrainLoop, ACollapsedLatentStops) {
  TrainingRun run = run_into("constant");
  run.settings.steps = 90;
  run.settings.validation_every = 30;  // the first comes too early to judge
  Context ctx({.threads = 1});
  Drawn source(run.settings.batch);
  source.constant = true;
  Observer silent;
  const Outcome outcome = train(ctx, run, source, silent);
  EXPECT_EQ(outcome.kind, Outcome::Kind::collapsed);
  EXPECT_EQ(outcome.steps, 60);
  EXPECT_NE(outcome.reason.find("collapsed"), std::string::npos) << outcome.reason;
}

TEST_F(TrainLoop, RefusesWhatDoesNotFit) {
  TrainingRun run = run_into("twice");
  start(run);
  EXPECT_THROW(start(run), Error);  // holds a run already
  run.resume = true;
  run.settings.lr = 2e-3;
  EXPECT_THROW(start(run), Error);  // another configuration
  TrainingRun large = run_into("large");
  large.image_size = 16;
  EXPECT_THROW(start(large), Error);
  TrainingRun wide = run_into("wide");
  wide.settings.batch = 101;
  EXPECT_THROW(start(wide), Error);
}

TEST(TrainSettings, ReadBackAsWritten) {
  TrainingSettings settings;
  settings.steps = 77;
  settings.seed = 5;
  settings.losses.weights.temporal_alignment = 1.0;
  const auto json = json_from_settings(settings);
  EXPECT_EQ(json_from_settings(settings_from_json(json, "test")), json);
  EXPECT_EQ(settings_from_json(nlohmann::json::object(), "test").seed, 3072u);
}

TEST(TrainSettings, NameWhatIsWrong) {
  const auto message = [](const char* given) {
    try {
      settings_from_json(nlohmann::json::parse(given), "c.json");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(message(R"({"stepz": 3})"), "c.json: training.stepz is not a setting of training");
  EXPECT_NE(message(R"({"batch": 1})").find("training.batch is 1"), std::string::npos);
  EXPECT_NE(message(R"({"lr": "fast"})").find("training.lr is \"fast\""), std::string::npos);
  EXPECT_NE(message(R"({"seed": -1})").find("training.seed is -1"), std::string::npos);
}

TEST(Schedule, WarmsUpFromZeroAndEndsAtZero) {
  const Schedule schedule{2.0, 4, 12};
  EXPECT_EQ(schedule.learning_rate(0), 0.0);
  EXPECT_EQ(schedule.learning_rate(2), 1.0);
  EXPECT_EQ(schedule.learning_rate(4), 2.0);
  EXPECT_NEAR(schedule.learning_rate(8), 1.0, 1e-15);
  EXPECT_NEAR(schedule.learning_rate(12), 0.0, 1e-15);
  EXPECT_EQ(warmup_steps(0.01, 50), 1);
  EXPECT_EQ(warmup_steps(0.01, 1500), 15);
}

TEST(CovarianceSums, ParticipationRatioOfKnownClouds) {
  // two of three coordinates vary alike, independently: ratio 2; the same in both: ratio 1
  const std::vector<float> square = {1, 1, 5, 1, -1, 5, -1, 1, 5, -1, -1, 5};
  Covariance two(3);
  two.add(View<const float, 2>(square.data(), {4, 3}));
  EXPECT_NEAR(two.participation_ratio(), 2.0, 1e-12);
  EXPECT_NEAR(two.mean_std(), 2.0 / 3.0, 1e-12);
  const std::vector<float> line = {1, 1, -1, -1};
  Covariance one(2);
  one.add(View<const float, 2>(line.data(), {2, 2}));
  EXPECT_NEAR(one.participation_ratio(), 1.0, 1e-12);
}

}  // namespace
}  // namespace orrery::train
