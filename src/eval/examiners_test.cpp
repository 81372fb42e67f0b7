#include "eval/examiners.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/recorder.h"
#include "models/lewm/small_config.h"
#include "train/loop.h"
#include "train/recorded.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

// for TwoRoom's blocks of five actions
lewm::Config small_config() {
  lewm::Config config = lewm::small_config(16);
  config.encoder.layers = 1;
  config.action.input = 10;
  return config;
}

lewm::Config hybrid_config() {
  lewm::Config config = small_config();
  config.encoder.layers = 2;
  config.encoder.pattern = "AL";
  config.encoder.meta_tokens = 1;
  return config;
}

// sees where the agent is in place of pictures
lewm::Config vector_config() {
  lewm::Config config = small_config();
  config.encoder = {};
  config.encoder.vector = {.inputs = 2, .hidden = 12, .depth = 2, .column = "proprio"};
  lewm::make_vector_encoder(config.encoder, 6);
  config.projector = {
      .present = false, .input = 6, .hidden = 6, .output = 6, .norm = lewm::HeadConfig::Norm::none};
  return config;
}

train::TrainingSettings small_settings() {
  train::TrainingSettings settings;
  settings.steps = 12;
  settings.batch = 4;
  settings.num_steps = 4;
  settings.losses.projections = 8;
  settings.validation_fraction = 0.4;
  settings.validation_every = 4;
  settings.validation_batches = 1;
  settings.checkpoint_every = 3;
  settings.log_every = 1;
  settings.min_effective_rank = 0;
  settings.min_latent_std = 0;
  settings.probe_frames = 30;
  settings.success_every = 5;
  settings.success_episodes = 2;
  settings.success_samples = 8;
  settings.success_iterations = 2;
  return settings;
}

// a recording of TwoRoom and runs that learn from it
class Examiners : public testing::Test {
 protected:
  Examiners() : root_(fs::temp_directory_path() / text("orrery-examiners-", ::getpid())) {
    fs::remove_all(root_);
    fs::create_directories(root_);
    RecordOptions options;
    options.episodes = 6;
    options.max_steps = 60;
    options.image_size = 16;
    record(ctx_, options, data_ = root_ / "data.h5", [](i64, i64) { return true; });
  }
  ~Examiners() override { fs::remove_all(root_); }

  // stops after as many steps as it may take
  class Clock : public train::Observer {
   public:
    explicit Clock(i64 steps) : left_(steps) {}
    bool wants_to_stop() override { return --left_ <= 0; }

   private:
    i64 left_;
  };

  train::Outcome train(const std::string& name, const train::TrainingSettings& settings,
                       bool examined, i64 steps = 1000, bool resume = false,
                       const lewm::Config& model = small_config()) {
    const lewm::EncoderConfig& encoder = model.encoder;
    train::Recorded source(data_, settings, {}, 0,
                           encoder.of_vectors() ? encoder.vector.column : std::string());
    train::Run run;
    run.model = model;
    run.settings = settings;
    run.image_size = source.image_size();
    run.statistics = source.statistics();
    run.output = root_ / name;
    run.resume = resume;
    const auto examiners = examiners_for(ctx_, data_, settings, source.model_statistics());
    for (const auto& examiner : examiners) {
      if (examined) run.examiners.push_back(examiner.get());
    }
    Clock clock(steps);
    return train::train(ctx_, run, source, clock);
  }

  // bytes of the weights
  std::string weights(const std::string& name) const {
    std::ifstream file(root_ / name / "weights.safetensors", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // every measure with its steps, in the order of the file
  std::map<std::string, std::vector<std::pair<i64, double>>> measures(
      const std::string& name) const {
    std::map<std::string, std::vector<std::pair<i64, double>>> result;
    std::ifstream file(root_ / name / "metrics.jsonl");
    for (std::string line; std::getline(file, line);) {
      const auto node = nlohmann::json::parse(line);
      if (!node.contains("validation")) continue;
      for (const auto& [key, value] : node.at("validation").items()) {
        result[key].emplace_back(node.at("step"), value.is_null() ? NAN : value.get<double>());
      }
    }
    return result;
  }

  Context ctx_{{.threads = 2}};
  fs::path root_, data_;
};

TEST_F(Examiners, LeaveTheWeightsAlone) {
  train("alone", small_settings(), false);
  train("examined", small_settings(), true);
  ASSERT_FALSE(weights("alone").empty());
  EXPECT_EQ(weights("alone"), weights("examined"));
  const auto told = measures("examined");
  EXPECT_FALSE(measures("alone").contains("success"));
  // every fifth step, and the last
  ASSERT_TRUE(told.contains("success"));
  std::vector<i64> steps;
  for (const auto& [step, value] : told.at("success")) {
    steps.push_back(step);
    EXPECT_TRUE(value == 0 || value == 50 || value == 100) << value;
  }
  EXPECT_EQ(steps, (std::vector<i64>{5, 10, 12}));
  for (const char* name : {"horizon_1", "horizon_5", "horizon_5_unchanged", "probe_agent",
                           "probe_agent_r", "distance_rank", "cost_falls", "latent_std_least"}) {
    ASSERT_TRUE(told.contains(name)) << name;
    EXPECT_EQ(told.at(name).size(), 3u) << name;
    for (const auto& [step, value] : told.at(name)) EXPECT_TRUE(std::isfinite(value)) << name;
  }
}

TEST_F(Examiners, TryGoalsWithHybridModelsToo) {
  train("hybrid", small_settings(), true, 1000, false, hybrid_config());
  const auto told = measures("hybrid");
  for (const char* name : {"success", "goal_distance", "probe_agent", "horizon_1"}) {
    ASSERT_TRUE(told.contains(name)) << name;
    for (const auto& [step, value] : told.at(name)) EXPECT_TRUE(std::isfinite(value)) << name;
  }
}

TEST_F(Examiners, TryGoalsWithModelsOfVectorsToo) {
  const train::TrainingSettings settings = small_settings();
  train("vectors", settings, true, 1000, false, vector_config());
  const auto told = measures("vectors");
  for (const char* name : {"success", "goal_distance", "probe_agent", "horizon_1"}) {
    ASSERT_TRUE(told.contains(name)) << name;
    for (const auto& [step, value] : told.at(name)) EXPECT_TRUE(std::isfinite(value)) << name;
  }
  // the agent's place is all they see; measured 0.73, learned from 90 frames
  EXPECT_GT(told.at("probe_agent_r").back().second, 0.5);
  train("broken", settings, true, 7, false, vector_config());
  train("broken", settings, true, 1000, true, vector_config());
  EXPECT_EQ(weights("vectors"), weights("broken"));
  // what numbers are measured by is part of the weights
  const lewm::Weights learned = lewm::load_model(root_ / "vectors");
  const train::Recorded source(data_, settings, {}, 0, "proprio");
  const lewm::VectorEncoder& encoder = learned.tensors.encoder.vector;
  EXPECT_FLOAT_EQ(encoder.mean(1), static_cast<float>(source.observed().mean[1]));
  EXPECT_GT(encoder.variance(0), 1.0f);
  EXPECT_THROW(train::Recorded(data_, settings, {}, 0, "speed"), Error);
}

TEST_F(Examiners, TellTheSameAfterABreak) {
  train("whole", small_settings(), true);
  train("broken", small_settings(), true, 7);
  const auto outcome = train("broken", small_settings(), true, 1000, true);
  EXPECT_EQ(outcome.kind, train::Outcome::Kind::finished);
  EXPECT_EQ(weights("whole"), weights("broken"));
  EXPECT_EQ(measures("whole"), measures("broken"));
}

TEST_F(Examiners, NameWhatTheyTellAndMayDecideWhatIsBest) {
  train::TrainingSettings settings = small_settings();
  settings.best_by = "goal_distance";
  train("best", settings, true);
  EXPECT_TRUE(fs::exists(root_ / "best" / "weights_best.safetensors"));
  const train::Recorded source(data_, settings);
  const lewm::Weights weights(small_config());
  for (const auto& examiner : examiners_for(ctx_, data_, settings, source.model_statistics())) {
    std::vector<std::string> told;
    for (const auto& measure : examiner->examine(1, weights)) told.push_back(measure.name);
    EXPECT_EQ(told, examiner->names());
  }
}

TEST_F(Examiners, AreNotThereWhereNothingIsHeldOut) {
  train::TrainingSettings settings = small_settings();
  settings.validation_fraction = 0;
  settings.validation_every = 0;
  const train::Recorded source(data_, settings);
  const auto made = [&] {
    return examiners_for(ctx_, data_, settings, source.model_statistics()).size();
  };
  EXPECT_THROW(made(), Error);
  settings.success_data = data_.string();
  EXPECT_EQ(made(), 1u);
  settings.success_env = "pusht";
  EXPECT_THROW(made(), Error);  // no states of seven numbers
  settings.success_every = 0;
  EXPECT_EQ(made(), 0u);
}

}  // namespace
}  // namespace orrery
