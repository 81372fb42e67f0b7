#include "train/batch_loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "train/inverse_dynamics.h"
#include "train/settings.h"

namespace orrery::train {
namespace {

// A loss of a user's own: latents of a window should not leave the unit ball.
//   mean over windows and frames of max(0, |z|^2 / D - 1)
class StaysNear final : public BatchLoss {
 public:
  std::string name() const override { return "stays_near"; }
  double value_and_gradient(Context&, const LossInputs& in, double weight,
                            const LossSlopes& slopes) override {
    const View<const float, 2> z = in.emb.as_rows();
    const View<float, 2> dz = slopes.emb.as_rows();
    const double rows = static_cast<double>(in.share.whole(in.emb.size(0)) * in.emb.size(1));
    const auto width = static_cast<double>(z.size(1));
    double sum = 0;
    for (i64 r = 0; r < z.size(0); ++r) {
      double square = 0;
      for (i64 d = 0; d < z.size(1); ++d) square += static_cast<double>(z(r, d)) * z(r, d);
      if (square <= width) continue;
      sum += square / width - 1;
      for (i64 d = 0; d < z.size(1); ++d) {
        dz(r, d) += static_cast<float>(weight * 2 * static_cast<double>(z(r, d)) / (width * rows));
      }
    }
    if (in.share.sums != nullptr) in.share.sums->add_up(View<double, 1>(&sum, {1}));
    ++calls;
    return sum / rows;
  }
  int calls = 0;
};

// The total's change along its gradient, by a loss of one's own alone.
TEST(BatchLoss, OneOfOnesOwnJoinsTheTotal) {
  Context ctx({.threads = 2});
  constexpr i64 kWindows = 3, kFrames = 4, kWidth = 5;
  std::vector<float> emb(kWindows * kFrames * kWidth), pred(kWindows * (kFrames - 1) * kWidth);
  fill_normal(1, 1, 0, static_cast<i64>(emb.size()), emb.data());
  for (float& value : emb) value *= 1.5f;
  const auto mine = std::make_shared<StaysNear>();
  LossSettings settings{.weights = {.prediction = 0, .sigreg = 0}, .projections = 4};
  settings.added = {{mine, 0.5}};
  LossState state(settings, {kWindows, kFrames, kWidth});
  const LossInputs in = {View<const float, 3>(emb.data(), {kWindows, kFrames, kWidth}),
                         View<const float, 3>(pred.data(), {kWindows, kFrames - 1, kWidth})};
  const LossValues values = losses(ctx, settings, in, state);
  ASSERT_EQ(values.added.size(), 1u);
  EXPECT_EQ(values.added[0].name, "stays_near");
  EXPECT_GT(values.added[0].value, 0);
  EXPECT_DOUBLE_EQ(values.total, 0.5 * values.added[0].value);

  const std::vector<float> gradient(state.gradient().emb.data(),
                                    state.gradient().emb.data() + emb.size());
  for (std::size_t i = 0; i < emb.size(); i += 7) {
    constexpr float kStep = 1.0f / 256;
    const float kept = emb[i];
    emb[i] = kept + kStep;
    const double above = losses(ctx, settings, in, state).total;
    emb[i] = kept - kStep;
    const double below = losses(ctx, settings, in, state).total;
    emb[i] = kept;
    // the loss is quadratic where no row crosses the ball; slopes are about 0.05
    EXPECT_NEAR((above - below) / (2.0 * kStep), gradient[i], 1e-6) << "element " << i;
  }
}

class InverseDynamicsLoss : public testing::Test {
 protected:
  static constexpr i64 kWindows = 4, kFrames = 3, kWidth = 5, kAction = 2;
  InverseDynamicsLoss()
      : emb_(kWindows * kFrames * kWidth),
        actions_(kWindows * kFrames * kAction),
        demb_(emb_.size()),
        loss_(kWidth, kAction, {.hidden = 7, .lr = 1e-2}) {
    fill_normal(1, 1, 0, static_cast<i64>(emb_.size()), emb_.data());
    fill_normal(2, 1, 0, static_cast<i64>(actions_.size()), actions_.data());
    loss_.begin(3);
  }
  double value(double weight) {
    std::fill(demb_.begin(), demb_.end(), 0.0f);
    const LossInputs in{.emb = {emb_.data(), {kWindows, kFrames, kWidth}},
                        .actions = {actions_.data(), {kWindows, kFrames, kAction}}};
    return loss_.value_and_gradient(
        ctx_, in, weight, {View<float, 3>(demb_.data(), {kWindows, kFrames, kWidth}), {}, {}});
  }

  Context ctx_{{.threads = 2}};
  std::vector<float> emb_, actions_, demb_;
  InverseDynamics loss_;
};

TEST_F(InverseDynamicsLoss, GradientsEqualDifferences) {
  loss_.begin_step(ctx_);
  value(0.5);
  const std::vector<float> demb = demb_;
  const std::vector<float> dhead(loss_.gradient().data(),
                                 loss_.gradient().data() + loss_.gradient().size(0));
  const auto expect = [&](float& x, double gradient, double weight) {
    constexpr float kStep = 1.0f / 128;
    const float kept = x;
    x = kept + kStep;
    const double above = value(0);
    x = kept - kStep;
    const double below = value(0);
    x = kept;
    // f32 values of about 1 over a step of 2^-6, and the third derivative times 2^-14 / 6
    EXPECT_NEAR(weight * (above - below) / (2.0 * kStep), gradient, 2e-4);
  };
  for (std::size_t i = 0; i < emb_.size(); i += 3) expect(emb_[i], demb[i], 0.5);
  float* parameters = loss_.head().parameters.data<float>();
  for (std::size_t i = 0; i < dhead.size(); i += 4) expect(parameters[i], dhead[i], 1.0);

  // published: the head reads, the latents do not feel it
  value(0);
  for (const float slope : demb_) EXPECT_EQ(slope, 0.0f);
}

TEST_F(InverseDynamicsLoss, LearnsByItselfAndIsRestored) {
  const double before = value(0);
  for (int step = 0; step < 60; ++step) {
    loss_.prepare_step({});
    loss_.begin_step(ctx_);
    value(0);
    loss_.learn(ctx_, {});
    loss_.end_step();
  }
  const double after = value(0);
  EXPECT_LT(after, 0.7 * before);
  InverseDynamics again(kWidth, kAction, {.hidden = 7, .lr = 1e-2});
  again.restore(loss_.contents(), "here");
  // the next step of both comes to the same bits
  for (InverseDynamics* one : {&loss_, &again}) {
    one->prepare_step({});
    one->begin_step(ctx_);
    const LossInputs in{.emb = {emb_.data(), {kWindows, kFrames, kWidth}},
                        .actions = {actions_.data(), {kWindows, kFrames, kAction}}};
    one->value_and_gradient(ctx_, in, 0, {});
    one->learn(ctx_, {});
    one->end_step();
  }
  EXPECT_EQ(0, std::memcmp(loss_.head().parameters.bytes(), again.head().parameters.bytes(),
                           static_cast<std::size_t>(again.head().parameters.byte_count())));
}

TEST_F(InverseDynamicsLoss, NotANumberInAnActionCountsAsZero) {
  actions_[1] = 0.0f;
  const double expected = value(0);
  actions_[1] = NAN;
  EXPECT_EQ(value(0), expected);
}

TEST(Objectives, StartFromThePublishedWeights) {
  const TrainingSettings pldm = settings_from_json({{"objective", "pldm"}, {"std_weight", 5}}, "c");
  EXPECT_EQ(pldm.losses.weights.cov, 12);
  EXPECT_EQ(pldm.losses.weights.std, 5);  // said beside it
  EXPECT_EQ(pldm.losses.weights.std_time, 0.7);
  EXPECT_EQ(pldm.losses.weights.temporal_alignment, 0.2);
  EXPECT_EQ(pldm.losses.weights.cov_time, 0);
  EXPECT_EQ(pldm.losses.weights.sigreg, 0);
  EXPECT_EQ(pldm.inverse_dynamics_hidden, 512);
  EXPECT_EQ(pldm.inverse_dynamics_weight, 0);
  EXPECT_THROW(settings_from_json({{"objective", "other"}}, "c"), Error);
  EXPECT_THROW(settings_from_json({{"inverse_dynamics_weight", 1}}, "c"), Error);

  lewm::Config model;
  TrainingSettings settings = pldm;
  settle(settings, model);
  add_learned_losses(settings, model);
  add_learned_losses(settings, model);
  ASSERT_EQ(settings.losses.added.size(), 1u);
  EXPECT_EQ(settings.losses.added[0].loss->name(), "inverse_dynamics");
  EXPECT_EQ(settings.num_steps, 4);
}

}  // namespace
}  // namespace orrery::train
