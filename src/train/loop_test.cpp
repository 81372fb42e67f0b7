#include "train/loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>
#include <vector>

#include "io/safetensors.h"
#include "models/lewm/weights.h"
#include "train/checkpoint.h"
#include "train/run_folder.h"
#include "train/schedule.h"
#include "train/small_run.h"

namespace orrery::train {
namespace {

namespace fs = std::filesystem;
using TrainingRun = Run;  // testing::Test has a Run of its own

class TrainLoop : public testing::Test {
 protected:
  TrainLoop() : root_(fs::temp_directory_path() / text("orrery-train-", getpid())) {
    fs::remove_all(root_);
  }
  ~TrainLoop() override { fs::remove_all(root_); }

  TrainingRun run_into(const char* folder) const {
    TrainingRun run;
    run.model = small_config();
    run.settings = small_settings();
    run.image_size = 8;
    run.statistics = {{"action", {{"mean", {0.0}}, {"std", {1.0}}}}};
    run.output = root_ / folder;
    return run;
  }
  Outcome start(const TrainingRun& run, Observer& observer) {
    Context ctx({.threads = 2});
    Drawn source(run.settings.batch);
    source.encoded = learns_dynamics(run.settings);
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
  static std::vector<nlohmann::json> metrics_without_times(const fs::path& output) {
    std::vector<nlohmann::json> lines;
    std::istringstream file(contents(output / "metrics.jsonl"));
    for (std::string line; std::getline(file, line);) {
      lines.push_back(nlohmann::json::parse(line));
      lines.back().erase("seconds");
      lines.back().erase("samples_per_s");
    }
    return lines;
  }
  static std::string message_of(const std::function<void()>& act) {
    try {
      act();
    } catch (const Error& error) {
      return error.what();
    }
    return {};
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

TEST_F(TrainLoop, MixedPrecisionLearnsAsF32Does) {
  struct Losses : Observer {
    std::vector<double> totals;
    void stepped(i64, double, const StepReport& report) override {
      totals.push_back(report.losses.total);
    }
  };
  TrainingRun run = run_into("f32");
  run.settings.steps = 60;
  Losses exact, mixed;
  start(run, exact);
  run.output = root_ / "bf16";
  run.settings.precision = Precision::bf16;
  start(run, mixed);
  ASSERT_EQ(exact.totals.size(), mixed.totals.size());
  const auto mean_of_last = [](const std::vector<double>& totals) {
    double sum = 0;
    for (std::size_t i = totals.size() - 20; i < totals.size(); ++i) sum += totals[i] / 20;
    return sum;
  };
  EXPECT_LT(mean_of_last(exact.totals), 0.9 * exact.totals.front());
  EXPECT_NEAR(mean_of_last(mixed.totals), mean_of_last(exact.totals),
              0.02 * mean_of_last(exact.totals));
  EXPECT_NE(mixed.totals, exact.totals);
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
  for (const char* name : {"weights.safetensors", "weights_best.safetensors"}) {
    EXPECT_TRUE(contents(whole.output / name) == contents(cut.output / name)) << name;
  }
  EXPECT_EQ(metrics_without_times(whole.output), metrics_without_times(cut.output));
  // all but the seconds in its notes
  const Checkpoint expected = read_checkpoint(whole.output / "checkpoint_12.safetensors");
  const Checkpoint last = read_checkpoint(cut.output / "checkpoint_12.safetensors");
  ASSERT_EQ(last.tensors.size(), expected.tensors.size());
  for (const auto& [name, tensor] : expected.tensors) {
    EXPECT_EQ(std::memcmp(tensor.bytes(), last.tensors.at(name).bytes(),
                          static_cast<std::size_t>(tensor.byte_count())),
              0)
        << name;
  }
  EXPECT_EQ(last.notes.at("best"), expected.notes.at("best"));
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
  const TensorMap kept = read_safetensors(run.output / "checkpoint_5.safetensors");
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

TEST_F(TrainLoop, KeepsTheLastCheckpointsAndTheBest) {
  TrainingRun run = run_into("kept");
  run.settings.checkpoint_every = 2;
  run.settings.keep_last = 3;
  start(run);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(run.output)) {
    if (entry.path().filename().string().rfind("checkpoint_", 0) == 0) {
      names.push_back(entry.path().filename().string());
    }
  }
  EXPECT_THAT(names,
              testing::UnorderedElementsAre("checkpoint_8.safetensors", "checkpoint_10.safetensors",
                                            "checkpoint_12.safetensors"));
  // the best of the validations at steps 4, 8 and 12, as metrics.jsonl tells them
  double least = INFINITY;
  i64 step = 0;
  for (const auto& line : metrics_without_times(run.output)) {
    if (!line.contains("validation")) continue;
    const double value = line.at("validation").at("prediction").get<double>();
    if (value < least) step = line.at("step").get<i64>();
    least = std::min(least, value);
  }
  const auto best = read_checkpoint(run.output / "checkpoint_12.safetensors").notes.at("best");
  EXPECT_EQ(best.at("step"), step);
  EXPECT_EQ(best.at("value"), least);
  EXPECT_EQ(best.at("by"), "prediction");
  EXPECT_NO_THROW(lewm::load_model(run.output / "weights_best.safetensors"));
}

// gives the step as a measure, at every third step
struct Counting : Examiner {
  std::vector<i64> seen;
  std::vector<std::string> names() const override { return {"count"}; }
  bool due(i64 step, bool last) const override { return step % 3 == 0 || last; }
  std::vector<Measure> examine(i64 step, const lewm::Weights& weights) override {
    EXPECT_EQ(weights.batches_tracked, step);
    seen.push_back(step);
    return {{"count", static_cast<double>(step), true}};
  }
};

TEST_F(TrainLoop, AnExaminerMayChooseTheBest) {
  TrainingRun run = run_into("examined");
  run.settings.steps = 7;
  Counting counting;
  run.settings.best_by = "count";
  EXPECT_THAT(message_of([&] { start(run); }), testing::HasSubstr("best_by is count; this run"));
  run.examiners = {&counting};
  start(run);
  EXPECT_EQ(counting.seen, (std::vector<i64>{3, 6, 7}));
  EXPECT_TRUE(contents(run.output / "weights_best.safetensors") ==
              contents(run.output / "weights.safetensors"));
  i64 lines = 0;
  for (const auto& line : metrics_without_times(run.output)) {
    if (!line.contains("validation") || !line.at("validation").contains("count")) continue;
    EXPECT_EQ(line.at("validation").at("count"), line.at("step").get<double>());
    ++lines;
  }
  EXPECT_EQ(lines, 3);
  // examined or not, the same weights
  TrainingRun alone = run_into("alone");
  alone.settings.steps = 7;
  start(alone);
  EXPECT_TRUE(contents(run.output / "weights.safetensors") ==
              contents(alone.output / "weights.safetensors"));
}

struct Listener : Observer {
  std::vector<std::string> sentences;
  void noticed(const std::string& sentence) override { sentences.push_back(sentence); }
};

TEST_F(TrainLoop, ADamagedCheckpointIsPassedOver) {
  const TrainingRun whole = run_into("whole");
  start(whole);
  TrainingRun cut = run_into("cut");
  Interrupter interrupter;
  interrupter.at = 11;
  EXPECT_THROW(start(cut, interrupter), Interruption);
  fs::resize_file(cut.output / "checkpoint_10.safetensors", 1000);
  std::ofstream(cut.output / "checkpoint_10.safetensors.7-0.tmp") << "left by a killed process";
  cut.resume = true;
  Listener listener;
  EXPECT_EQ(start(cut, listener).kind, Outcome::Kind::finished);
  ASSERT_EQ(listener.sentences.size(), 1u);
  EXPECT_THAT(listener.sentences[0], testing::HasSubstr("checkpoint_10.safetensors"));
  EXPECT_TRUE(contents(whole.output / "weights.safetensors") ==
              contents(cut.output / "weights.safetensors"));
  EXPECT_FALSE(fs::exists(cut.output / "checkpoint_10.safetensors.7-0.tmp"));
  // all of them damaged: an error
  for (const i64 step : {10, 12}) {
    fs::resize_file(cut.output / text("checkpoint_", step, ".safetensors"), 1000);
  }
  EXPECT_THAT(message_of([&] { start(cut); }), testing::HasSubstr("checkpoint_10.safetensors"));
}

TEST_F(TrainLoop, AFolderServesOneRunAtATime) {
  const TrainingRun run = run_into("shared");
  const RunFolder held(run.output);
  EXPECT_THAT(message_of([&] { start(run); }), testing::HasSubstr("in use by another run"));
}

TEST_F(TrainLoop, BeginsWithTheWeightsOfAFile) {
  const TrainingRun first = run_into("first");
  start(first);
  TrainingRun second = run_into("second");
  second.settings.steps = 1;
  second.settings.warmup_fraction = 1.0;  // its only step has learning rate 0
  second.init = first.output / "weights.safetensors";
  start(second);
  const TensorMap before = read_safetensors(first.output / "weights.safetensors");
  const TensorMap after = read_safetensors(second.output / "weights.safetensors");
  for (const char* name : {"projector.net.0.weight", "predictor.pos_embedding"}) {
    EXPECT_EQ(std::memcmp(before.at(name).bytes(), after.at(name).bytes(),
                          static_cast<std::size_t>(before.at(name).byte_count())),
              0)
        << name;
  }
  second.output = root_ / "third";
  second.init_optimiser = true;
  EXPECT_THAT(message_of([&] { start(second); }), testing::HasSubstr("no PyTorch checkpoint"));
}

// Encoder and projector stay to the last bit, decay included, and what is behind them learns.
TEST_F(TrainLoop, DynamicsLearnFromLatents) {
  const TrainingRun first = run_into("first");
  start(first);
  TrainingRun second = run_into("dynamics");
  second.settings.learn = "dynamics";
  second.settings.inverse_dynamics_hidden = 7;
  settle(second.settings, second.model);
  EXPECT_EQ(second.settings.losses.weights.sigreg, 0);
  EXPECT_EQ(second.settings.inverse_dynamics_hidden, 0);
  second.init_encoder = first.output;
  second.encoder = "of the first";
  start(second);
  const TensorMap before = read_safetensors(first.output / "weights.safetensors");
  const TensorMap after = read_safetensors(second.output / "weights.safetensors");
  int kept = 0, learned = 0;
  for (const auto& [name, tensor] : before) {
    const bool same = std::memcmp(tensor.bytes(), after.at(name).bytes(),
                                  static_cast<std::size_t>(tensor.byte_count())) == 0;
    const bool at_rest = name.rfind("encoder.", 0) == 0 || name.rfind("projector.", 0) == 0;
    if (name.find("num_batches_tracked") != std::string::npos) continue;
    EXPECT_EQ(same, at_rest) << name;
    (same ? kept : learned) += 1;
  }
  EXPECT_GT(kept, 10);
  EXPECT_GT(learned, 10);

  // another encoder's latents are another run's
  second.resume = true;
  second.encoder = "of another";
  EXPECT_THAT(message_of([&] { start(second); }), testing::HasSubstr("encoder was"));
}

TEST_F(TrainLoop, RefusesWhatDoesNotFit) {
  TrainingRun run = run_into("twice");
  start(run);
  EXPECT_THROW(start(run), Error);  // holds a run already
  run.resume = true;
  run.settings.lr = 2e-3;
  EXPECT_THAT(message_of([&] { start(run); }),
              testing::HasSubstr("training.lr was 0.001 and is 0.002"));
  run.settings.lr = 1e-3;
  run.settings.log_every = 3;  // does not reach the weights
  EXPECT_NO_THROW(start(run));
  TrainingRun large = run_into("large");
  large.image_size = 16;
  EXPECT_THROW(start(large), Error);
  TrainingRun wide = run_into("wide");
  wide.settings.batch = 101;
  EXPECT_THROW(start(wide), Error);
}

TEST(TrainCheckpoint, TellsTheFirstDifferenceByName) {
  using nlohmann::json;
  const json was = {{"model", {{"depth", 6}}}, {"training", {{"lr", 0.1}, {"log_every", 3}}}};
  EXPECT_EQ(difference(was, was, {}, {}), "");
  json is = was;
  is["training"]["log_every"] = 4;
  EXPECT_EQ(difference(was, is, {}, {"training.log_every"}), "");
  EXPECT_EQ(difference(was, is, {}, {}), "training.log_every was 3 and is 4");
  // a setting that came later counts as its default
  is = was;
  is["training"]["clip"] = 1.0;
  EXPECT_EQ(difference(was, is, {{"training", {{"clip", 1.0}}}}, {}), "");
  EXPECT_EQ(difference(was, is, {{"training", {{"clip", 2.0}}}}, {}),
            "training.clip was 2.0 and is 1.0");
  EXPECT_EQ(difference(is, was, {}, {}), "training.clip was 1.0 and is not there");
}

TEST(TrainSettings, ReadBackAsWritten) {
  TrainingSettings settings;
  settings.steps = 77;
  settings.seed = 5;
  settings.precision = Precision::bf16;
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
  EXPECT_EQ(message(R"({"stepz": 3})"),
            "c.json: training.stepz is not a setting of training; the nearest is steps");
  EXPECT_NE(message(R"({"batch": 1})").find("training.batch is 1"), std::string::npos);
  EXPECT_NE(message(R"({"lr": "fast"})").find("training.lr is \"fast\""), std::string::npos);
  EXPECT_EQ(message(R"({"precision": "int8"})"),
            "c.json: training.precision is \"int8\", \"f32\" or \"bf16\" was needed");
  EXPECT_EQ(message(R"({"window_order": "sorted"})"),
            "c.json: training.window_order is sorted, shuffled or by_chunk was needed");
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
