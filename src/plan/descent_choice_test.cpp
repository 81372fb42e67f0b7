#include "plan/descent_choice.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "plan/choice.h"
#include "plan/lagrangian.h"

namespace orrery {
namespace {

constexpr PlanSizes kSizes = {.environments = 1, .horizon = 2, .action_dim = 6};

DescentConfig config_of(const PlannerChoice& choice) {
  Context ctx({.threads = 1});
  CounterNoise noise(1);
  const auto planner = make_planner(ctx, choice, kSizes, {}, noise);
  EXPECT_TRUE(planner->needs_gradients());
  EXPECT_EQ(planner->samples(), choice.samples);
  return dynamic_cast<const Descent&>(*planner).config();
}

TEST(DescentChoice, WhatIsNotSaidIsTheReleasedConfiguration) {
  PlannerChoice choice;
  choice.name = "gradient";
  choice.samples = 100;
  choice.iterations = 7;
  DescentConfig config = config_of(choice);
  EXPECT_EQ(config.optimiser.kind, OptimiserConfig::Kind::adamw);
  EXPECT_EQ(config.optimiser.lr, 0.1);
  EXPECT_EQ(config.steps, 7);
  EXPECT_EQ(config.batch_size, 1);

  choice.name = "lagrangian";
  EXPECT_EQ(config_of(choice).optimiser.kind, OptimiserConfig::Kind::adam);
  choice.descent.optimiser = OptimiserConfig::Kind::sgd;
  choice.descent.lr = 0.5;
  choice.descent.momentum = 0.9;
  choice.descent.limits.action_energy = 1.0;
  config = config_of(choice);
  EXPECT_EQ(config.optimiser.kind, OptimiserConfig::Kind::sgd);
  EXPECT_EQ(config.optimiser.lr, 0.5);
  EXPECT_EQ(config.optimiser.momentum, 0.9);
}

TEST(DescentChoice, RefusesWhatAPlannerDoesNotKnow) {
  const auto make = [](const PlannerChoice& choice) { config_of(choice); };
  PlannerChoice choice;
  choice.name = "gradient";
  choice.descent.limits.largest_action = 1.0;
  EXPECT_THROW(make(choice), Error);
  choice.descent.limits = {};
  choice.action_limit = 1.0;
  EXPECT_THROW(make(choice), Error);

  Context ctx({.threads = 1});
  CounterNoise noise(1);
  EXPECT_THROW(make_descent(ctx, "descent", {}, {}, kSizes, noise), Error);
  EXPECT_THROW(make_descent(ctx, "pgd", {.categories = 0}, {}, kSizes, noise), Error);
  EXPECT_THROW(make_descent(ctx, "pgd", {.categories = 4}, {}, kSizes, noise), Error);
  EXPECT_THROW(make_descent(ctx, "pgd", {.categories = 3}, {.grad_clip = 1}, kSizes, noise), Error);
  EXPECT_NE(make_descent(ctx, "pgd", {.categories = 3}, {}, kSizes, noise), nullptr);
}

}  // namespace
}  // namespace orrery
