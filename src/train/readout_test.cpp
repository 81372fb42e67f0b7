#include "train/readout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/philox.h"
#include "base/random.h"
#include "train/settings.h"

namespace orrery::train {
namespace {

class ReadoutLoss : public testing::Test {
 protected:
  static constexpr i64 kWindows = 4, kFrames = 3, kWidth = 5, kNumbers = 4;
  ReadoutLoss()
      : emb_(kWindows * kFrames * kWidth),
        seen_(kWindows * kFrames * kNumbers),
        demb_(emb_.size()),
        loss_(kWidth, settings(), scale()) {
    fill_normal(1, 1, 0, static_cast<i64>(emb_.size()), emb_.data());
    fill_normal(2, 1, 0, static_cast<i64>(seen_.size()), seen_.data());
    loss_.begin(3);
  }
  static ReadoutSettings settings() {
    return {.column = "state", .numbers = {2, 0}, .angles = {3}, .lr = 3e-2};
  }
  static ColumnStatistics scale() { return {.mean = {0.5, 9, -1, 9}, .deviation = {2, 9, 4, 9}}; }
  double value(double weight) {
    std::fill(demb_.begin(), demb_.end(), 0.0f);
    return loss_.value_and_gradient(
        ctx_, inputs(), weight,
        {View<float, 3>(demb_.data(), {kWindows, kFrames, kWidth}), {}, {}});
  }
  LossInputs inputs() const {
    return {.emb = {emb_.data(), {kWindows, kFrames, kWidth}},
            .observations = {seen_.data(), {kWindows, kFrames, kNumbers}}};
  }
  void learn(int steps) {
    for (int step = 0; step < steps; ++step) {
      loss_.prepare_step({});
      loss_.begin_step(ctx_);
      value(0);
      loss_.learn(ctx_, {});
      loss_.end_step();
    }
  }

  Context ctx_{{.threads = 2}};
  std::vector<float> emb_, seen_, demb_;
  Readout loss_;
};

// The guess of a latent of zeros is 0, so the value is the mean square of the targets.
TEST_F(ReadoutLoss, TargetsAreScaledNumbersAndTheCircle) {
  std::fill(emb_.begin(), emb_.end(), 0.0f);
  double sum = 0;
  for (std::size_t row = 0; row < kWindows * kFrames; ++row) {
    const float* seen = seen_.data() + row * kNumbers;
    sum += std::pow((seen[2] + 1.0) / 4.0, 2) + std::pow((seen[0] - 0.5) / 2.0, 2);
    sum += 2.0;  // of the angle's two
  }
  EXPECT_NEAR(value(0), sum / (kWindows * kFrames * 4), 1e-6);
}

TEST_F(ReadoutLoss, GradientsEqualDifferences) {
  learn(20);
  loss_.begin_step(ctx_);
  value(0.5);
  const std::vector<float> demb = demb_;
  for (std::size_t i = 0; i < emb_.size(); ++i) {
    constexpr float kStep = 1.0f / 128;
    const float kept = emb_[i];
    emb_[i] = kept + kStep;
    const double above = value(0);
    emb_[i] = kept - kStep;
    const double below = value(0);
    emb_[i] = kept;
    // quadratic: what is left is the rounding of f32 values of about 1 over 2^-6
    EXPECT_NEAR(0.5 * (above - below) / (2.0 * kStep), demb[i], 2e-5) << "number " << i;
  }
}

TEST_F(ReadoutLoss, LearnsByItselfAndIsRestored) {
  const double before = value(0);
  learn(60);
  EXPECT_LT(value(0), 0.6 * before);

  Readout again(kWidth, settings(), scale());
  again.restore(loss_.contents(), "here");
  for (Readout* one : {&loss_, &again}) {
    one->prepare_step({});
    one->begin_step(ctx_);
    one->value_and_gradient(ctx_, inputs(), 0, {});
    one->learn(ctx_, {});
    one->end_step();
  }
  const TensorMap a = loss_.contents(), b = again.contents();
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    EXPECT_EQ(0, std::memcmp(tensor.bytes(), b.at(name).bytes(),
                             static_cast<std::size_t>(tensor.byte_count())))
        << name;
  }
}

TEST_F(ReadoutLoss, WhatWasNotRecordedIsNotAskedFor) {
  learn(20);
  const double whole = value(1);
  seen_[0] = NAN;
  const double without = value(1);
  EXPECT_LT(without, whole);
  for (const float slope : demb_) EXPECT_TRUE(std::isfinite(slope));
}

TEST_F(ReadoutLoss, OtherObservationsAreAnError) {
  LossInputs in = inputs();
  in.observations = {};
  EXPECT_THROW(loss_.value_and_gradient(ctx_, in, 0, {}), Error);
  EXPECT_THROW(Readout(kWidth, {.column = "state", .numbers = {4}}, scale()), Error);
}

TEST(ReadoutSettings, AreWrittenAsTheyAreRead) {
  const nlohmann::json node = {{"column", "state"},
                               {"numbers", {0, 1, 2, 3}},
                               {"angles", {4}},
                               {"weight", 0.5},
                               {"lr", 0.002}};
  const TrainingSettings settings = settings_from_json({{"readout", node}}, "c");
  EXPECT_EQ(json_from_settings(settings).at("readout"), node);
  EXPECT_FALSE(json_from_settings(TrainingSettings{}).contains("readout"));
}

TEST(ReadoutSettings, FaultsAreToldByName) {
  const auto refused = [](const nlohmann::json& node, const std::string& part) {
    try {
      settings_from_json({{"readout", node}}, "c.json");
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
      return;
    }
    ADD_FAILURE() << node << " was taken";
  };
  refused("state", "c.json: training.readout is string");
  refused({{"numbers", {0}}}, "has no column");
  refused({{"column", "state"}}, "neither numbers nor angles");
  refused({{"column", "state"}, {"numbers", {-1}}}, "readout.numbers holds -1");
  refused({{"column", "state"}, {"numbers", {0}}, {"weight", -1}}, "readout.weight is -1");
  refused({{"column", "state"}, {"number", {0}}}, "readout.number is unknown");
}

}  // namespace
}  // namespace orrery::train
