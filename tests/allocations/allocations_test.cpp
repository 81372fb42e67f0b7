#include <gtest/gtest.h>

#include <cstdlib>
#include <span>
#include <vector>

#include "env/batch.h"
#include "models/lewm/dynamics.h"
#include "models/lewm/recipe.h"
#include "plan/cem.h"
#include "plan/policy.h"
#include "tests/allocations/counter.h"

namespace orrery {
namespace {

constexpr i64 kEnvironments = 2;

lewm::Config small_config() {
  lewm::Config config;
  config.encoder = {
      .image_size = 224, .patch = 32, .hidden = 48, .layers = 2, .heads = 3, .mlp = 96};
  config.projector = {.input = 48, .hidden = 64, .output = 16};
  config.predictor = {.window = 3,
                      .input = 16,
                      .hidden = 32,
                      .output = 32,
                      .depth = 2,
                      .heads = 2,
                      .head_dim = 16,
                      .mlp = 64};
  config.pred_proj = {.input = 32, .hidden = 64, .output = 16};
  config.action = {.input = 10, .smoothed = 10, .output = 16, .mlp_scale = 4};
  return config;
}

// Everything that a closed loop needs, made once: the model's states, the planner, the policy, the
// environments. step() is one environment step of all of them.
class Loop {
 public:
  explicit Loop(int threads)
      : ctx({.threads = threads}),
        model(ctx, lewm::seeded_weights(small_config(), "allocations")),
        eyes(lewm::make_encoder_state(ctx, model, 224, 224, kEnvironments)),
        dynamics(ctx, model, {.environments = kEnvironments, .samples = 96, .horizon = 3}),
        planner(ctx, {.samples = 96, .elites = 10, .iterations = 4},
                {.environments = kEnvironments, .horizon = 3, .action_dim = 10}, noise),
        policy({.horizon = 3, .receding_horizon = 1, .action_block = 5}, kEnvironments, 2, {},
               planner),
        environments("tworoom", kEnvironments),
        frames(DType::uint8, {kEnvironments, 224, 224, 3}),
        latents(DType::f32, {kEnvironments, 16}),
        goals(DType::f32, {kEnvironments, 16}),
        actions(DType::f32, {kEnvironments, 2}),
        steps(kEnvironments) {
    for (i64 e = 0; e < kEnvironments; ++e) environments[e].reset(static_cast<u64>(e));
  }

  void step() {
    policy.act(
        ctx, [this](std::span<const i64> who) -> Dynamics& { return observe(who); },
        actions.view<float, 2>());
    environments.step(ctx, actions.view<float, 2>(), steps);
  }

  i64 plans() const { return policy.plans_made(0) + policy.plans_made(1); }

 private:
  Dynamics& observe(std::span<const i64> who) {
    const auto pictures = frames.view<u8, 4>();
    environments.render_goals(ctx, pictures);
    lewm::encode(ctx, model, eyes, pictures, goals.view<float, 2>());
    environments.render(ctx, pictures);
    lewm::encode(ctx, model, eyes, pictures, latents.view<float, 2>());
    dynamics.begin(static_cast<i64>(who.size()));
    for (i64 e = 0; e < static_cast<i64>(who.size()); ++e) {
      const i64 environment = who[static_cast<std::size_t>(e)];
      dynamics.observe(e, latents.view<float, 2>().slice(0, environment, environment + 1), {},
                       goals.view<float, 2>()[environment]);
    }
    return dynamics;
  }

  Context ctx;
  lewm::Model model;
  lewm::EncoderState eyes;
  lewm::GoalDynamics dynamics;
  CounterNoise noise{7};
  Cem planner;
  RecedingHorizonPolicy policy;
  EnvironmentBatch environments;
  Tensor frames, latents, goals, actions;
  std::vector<Step> steps;
};

// the counter itself works: otherwise "no allocations" would mean nothing
TEST(Allocations, AreCounted) {
  if (!allocations_are_counted()) GTEST_SKIP() << "a sanitizer owns malloc";
  const i64 before = allocations();
  std::vector<int> values(100);
  values[0] = 1;
  EXPECT_GE(allocations(), before + 1);
  const i64 between = allocations();
  void* volatile memory = std::malloc(10);
  std::free(memory);
  EXPECT_EQ(allocations(), between + 1);
}

// see, imagine, plan, act: from pixels to actions and back, nothing is allocated once all is made
TEST(Allocations, AClosedLoopMakesNone) {
  if (!allocations_are_counted()) GTEST_SKIP() << "a sanitizer owns malloc";
  for (const int threads : {1, 2}) {
    Loop loop(threads);
    // the first plan: whatever the C library sets up at its first use
    loop.step();
    const i64 before = allocations();
    for (int step = 0; step < 11; ++step) loop.step();
    EXPECT_EQ(allocations() - before, 0) << threads << " threads";
    EXPECT_EQ(loop.plans(), 6) << "plans were not made, so nothing was measured";
  }
}

}  // namespace
}  // namespace orrery
