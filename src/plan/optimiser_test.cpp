#include "plan/optimiser.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace orrery {
namespace {

using Kind = OptimiserConfig::Kind;

// PyTorch's documentation of the three, as a plain loop in double
class Reference {
 public:
  Reference(const OptimiserConfig& config, std::size_t size) : c_(config), m_(size), v_(size) {}

  void step(const std::vector<double>& gradient, std::vector<double>& p) {
    ++t_;
    const double decay = c_.weight_decay >= 0 ? c_.weight_decay : c_.kind == Kind::adamw ? 0.01 : 0;
    for (std::size_t i = 0; i < p.size(); ++i) {
      double g = gradient[i];
      if (c_.kind == Kind::adamw) {
        p[i] -= c_.lr * decay * p[i];
      } else {
        g += decay * p[i];
      }
      if (c_.kind == Kind::sgd) {
        if (c_.momentum != 0) {
          m_[i] = t_ == 1 ? g : c_.momentum * m_[i] + (1 - c_.dampening) * g;
          g = c_.nesterov ? g + c_.momentum * m_[i] : m_[i];
        }
        p[i] -= c_.lr * g;
        continue;
      }
      m_[i] = c_.beta1 * m_[i] + (1 - c_.beta1) * g;
      v_[i] = c_.beta2 * v_[i] + (1 - c_.beta2) * g * g;
      const double mean = m_[i] / (1 - std::pow(c_.beta1, t_));
      const double square = v_[i] / (1 - std::pow(c_.beta2, t_));
      p[i] -= c_.lr * mean / (std::sqrt(square) + c_.eps);
    }
  }

 private:
  OptimiserConfig c_;
  std::vector<double> m_, v_;
  int t_ = 0;
};

TEST(Optimiser, EqualsTheReference) {
  constexpr std::size_t kSize = 37;
  constexpr int kSteps = 12;
  Context ctx({.threads = 2});
  for (const OptimiserConfig& config :
       {OptimiserConfig{.lr = 0.3}, OptimiserConfig{.lr = 0.3, .weight_decay = 0.1},
        OptimiserConfig{.lr = 0.1, .momentum = 0.9},
        OptimiserConfig{.lr = 0.1, .weight_decay = 0.02, .momentum = 0.8, .dampening = 0.25},
        OptimiserConfig{.lr = 0.1, .momentum = 0.9, .nesterov = true},
        OptimiserConfig{.kind = Kind::adam, .lr = 0.05},
        OptimiserConfig{.kind = Kind::adam, .lr = 0.05, .weight_decay = 0.3, .beta1 = 0.5},
        OptimiserConfig{.kind = Kind::adamw, .lr = 0.05},
        OptimiserConfig{
            .kind = Kind::adamw, .lr = 0.05, .weight_decay = 0.4, .beta2 = 0.9, .eps = 1e-3}}) {
    Optimiser optimiser("test", config);
    Arena measure;
    optimiser.lay_out(measure, kSize);
    Block memory(measure.used());
    Arena arena(memory);
    optimiser.lay_out(arena, kSize);

    // the second descent shows that nothing of the first is left
    for (const u64 seed : {1, 2}) {
      std::vector<float> mine(kSize), gradient(kSize);
      fill_normal(seed, 0, 0, kSize, mine.data());
      std::vector<double> theirs(mine.begin(), mine.end());
      Reference reference(config, kSize);
      optimiser.begin();
      for (int step = 1; step <= kSteps; ++step) {
        fill_normal(seed, static_cast<u64>(step), 0, kSize, gradient.data());
        reference.step({gradient.begin(), gradient.end()}, theirs);
        optimiser.step(ctx, {gradient.data(), {kSize}}, {mine.data(), {kSize}});
      }
      for (std::size_t i = 0; i < kSize; ++i) {
        // float rounding of twelve steps of sizes about 1
        EXPECT_NEAR(static_cast<double>(mine[i]), theirs[i], 2e-5)
            << i << ", lr " << config.lr << ", momentum " << config.momentum;
      }
    }
  }
}

TEST(Optimiser, RefusesWhatMakesNoSense) {
  EXPECT_THROW(Optimiser("test", {.lr = 0}), Error);
  EXPECT_THROW(Optimiser("test", {.lr = std::nan("")}), Error);
  EXPECT_THROW(Optimiser("test", {.momentum = -0.1}), Error);
  EXPECT_THROW(Optimiser("test", {.nesterov = true}), Error);
  EXPECT_THROW(Optimiser("test", {.momentum = 0.5, .dampening = 0.1, .nesterov = true}), Error);
  EXPECT_THROW(Optimiser("test", {.kind = Kind::adam, .beta1 = 1}), Error);
  EXPECT_THROW(Optimiser("test", {.kind = Kind::adamw, .eps = 0}), Error);
  EXPECT_EQ(optimiser_from("adamw"), Kind::adamw);
  EXPECT_EQ(optimiser_from("adam"), Kind::adam);
  EXPECT_EQ(optimiser_from("sgd"), Kind::sgd);
  EXPECT_THROW(optimiser_from("lion"), Error);
}

}  // namespace
}  // namespace orrery
