#include "train/losses.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/random.h"

namespace orrery::train {
namespace {

constexpr i64 kWindows = 5, kFrames = 4, kWidth = 6;
// three predictions from one frame: two of them made of predictions
constexpr i64 kRolled = 2;
LossSizes sizes() {
  LossSizes all(kWindows, kFrames, kWidth);
  all.context = 1;
  all.rolled = kRolled;
  return all;
}

struct Latents {
  std::vector<float> emb, pred, rolled;

  Latents()
      : emb(kWindows * kFrames * kWidth),
        pred(kWindows * (kFrames - 1) * kWidth),
        rolled(kWindows * kRolled * kWidth) {
    // below unit size, so that the terms that ask for spread are at work
    fill_normal(1, 1, 0, static_cast<i64>(emb.size()), emb.data());
    fill_normal(2, 1, 0, static_cast<i64>(pred.size()), pred.data());
    fill_normal(4, 1, 0, static_cast<i64>(rolled.size()), rolled.data());
    for (float& value : emb) value *= 0.5f;
  }
  LossInputs views() const {
    return {{emb.data(), {kWindows, kFrames, kWidth}},
            {pred.data(), {kWindows, kFrames - 1, kWidth}},
            {rolled.data(), {kWindows, kRolled, kWidth}}};
  }
};

// Central differences of the total. The inputs are f32, so the step is a power of two that they
// carry exactly; truncation grows with its square.
TEST(Losses, GradientOfEveryTermEqualsFiniteDifferences) {
  Context ctx({.threads = 1});
  for (const LossTerm& term : kLossTerms) {
    SCOPED_TRACE(term.name);
    LossSettings settings{.weights = {.prediction = 0, .rollout = 0, .sigreg = 0},
                          .projections = 8};
    settings.weights.*term.weight = 0.7;
    Latents latents;
    LossState state(settings, sizes());
    fill_normal(3, 1, 0, state.directions().numel(), state.directions().data());
    const auto total = [&] { return losses(ctx, settings, latents.views(), state).total; };
    const LossValues values = losses(ctx, settings, latents.views(), state);
    EXPECT_NE(values.*term.value, 0.0);
    EXPECT_DOUBLE_EQ(values.total, 0.7 * (values.*term.value));
    const auto copied = [](View<const float, 3> gradient) {
      return std::vector<float>(gradient.data(), gradient.data() + gradient.numel());
    };
    const auto demb = copied(state.gradient().emb), dpred = copied(state.gradient().pred),
               drolled = copied(state.gradient().rolled);

    constexpr float kStep = 1.0f / 512;
    const auto expect_gradient = [&](std::vector<float>& x, const std::vector<float>& gradient) {
      for (std::size_t i = 0; i < x.size(); i += 3) {
        const float kept = x[i];
        const float up = kept + kStep, down = kept - kStep;
        x[i] = up;
        const double above = total();
        x[i] = down;
        const double below = total();
        x[i] = kept;
        // slopes here are about 0.02; SIGReg is computed in f32
        EXPECT_NEAR((above - below) / (static_cast<double>(up) - down), gradient[i], 5e-5)
            << "element " << i;
      }
    };
    expect_gradient(latents.emb, demb);
    expect_gradient(latents.pred, dpred);
    expect_gradient(latents.rolled, drolled);
  }
}

TEST(Losses, AreTheWeightedSum) {
  Context ctx({.threads = 1});
  LossSettings settings{.projections = 8};
  for (const LossTerm& term : kLossTerms) settings.weights.*term.weight = 0.5;
  const Latents latents;
  LossState state(settings, sizes());
  fill_normal(3, 1, 0, state.directions().numel(), state.directions().data());
  const LossValues values = losses(ctx, settings, latents.views(), state);
  double sum = 0;
  for (const LossTerm& term : kLossTerms) sum += 0.5 * (values.*term.value);
  EXPECT_NEAR(values.total, sum, 1e-12);
}

TEST(Losses, PublishedDefault) {
  const LossSettings settings;
  EXPECT_EQ(settings.weights.sigreg, 0.09);
  EXPECT_EQ(settings.weights.temporal_alignment, 0.0);
  EXPECT_EQ(settings.projections, 1024);
  EXPECT_EQ(settings.knots, 17);
}

}  // namespace
}  // namespace orrery::train
