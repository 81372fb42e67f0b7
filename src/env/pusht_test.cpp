#include "env/pusht.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/random.h"
#include "env/batch.h"
#include "env/policy.h"
#include "env/pusht_replay.h"

namespace orrery {
namespace {

using pusht::Point;
using pusht::ShapeKind;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr double kPi = std::numbers::pi;

std::vector<double> state_of(const Environment& environment) {
  std::vector<double> state(static_cast<std::size_t>(environment.state_dim()));
  environment.state(state);
  return state;
}

std::vector<u8> frame_of(const Environment& environment) {
  const i64 height = environment.frame_height();
  const i64 width = environment.frame_width();
  std::vector<u8> pixels(static_cast<std::size_t>(height * width * 3));
  environment.render(View<u8, 3>(pixels.data(), {height, width, 3}));
  return pixels;
}

PushT pusht_named(const char* name) { return PushT(pusht_options(name)); }

// ctest runs each case in a process of its own, so this is the first world of one
TEST(PushT, PrintsNothing) {
  testing::internal::CaptureStdout();
  PushT environment;
  environment.step(std::array{0.5f, 0.5f});
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
}

TEST(PushT, NamesAndOptions) {
  for (const std::string_view name : environment_names()) {
    EXPECT_EQ(make_environment(name)->name(), name);
  }
  EXPECT_EQ(make_environment("pusht")->frame_width(), 224);
  EXPECT_EQ(make_environment("pusht:size=96,motion=kept")->frame_width(), 96);
  EXPECT_EQ(make_environment("pusht-absolute")->state_dim(), 5);
  EXPECT_EQ(make_environment("pusht-dino")->state_dtype(), DType::f32);
  EXPECT_THAT([] { make_environment("pusht:size=97"); },
              ThrowsMessage<Error>(HasSubstr("size=96|224|512|680")));
  EXPECT_THAT([] { make_environment("tworoom:size=96"); },
              ThrowsMessage<Error>(HasSubstr("no options")));
  EXPECT_THAT([] { make_environment("pushed"); }, ThrowsMessage<Error>(HasSubstr("pusht-dino")));
}

TEST(PushT, ActionsAreMarkedFromTheFirstStepToTheNextStart) {
  const auto marked = make_environment("pusht-absolute:size=680,action=drawn");
  const auto plain = make_environment("pusht-absolute:size=680");
  std::vector<u8> a(680 * 680 * 3), b(a.size());
  const auto differ = [&] {
    marked->render(View<u8, 3>(a.data(), {680, 680, 3}));
    plain->render(View<u8, 3>(b.data(), {680, 680, 3}));
    return a != b;
  };
  for (Environment* environment : {marked.get(), plain.get()}) environment->reset(7);
  EXPECT_FALSE(differ());
  for (Environment* environment : {marked.get(), plain.get()}) {
    environment->step(std::array{300.0f, 200.0f});
  }
  EXPECT_TRUE(differ());
  EXPECT_EQ(a[(265 * 680 + 398) * 3], 255);  // 200 and 300 times 680 / 512
  std::vector<double> state(5);
  plain->state(state);
  for (Environment* environment : {marked.get(), plain.get()}) environment->set_state(state);
  EXPECT_FALSE(differ());
}

TEST(PushT, AgentFollowsItsTarget) {
  PushT environment;
  environment.set_state(std::array<double, 7>{100, 100, 300, 300, 0, 0, 0});
  environment.step(std::array{0.5f, 0.0f});
  const auto state = state_of(environment);
  // from rest: ten steps of the two-term recurrence, to the digits that the specification gives
  EXPECT_NEAR(state[0], 100 + 0.295672 * 50, 1e-4);
  EXPECT_EQ(state[1], 100);
  EXPECT_NEAR(state[5], 3.741477 * 50, 1e-4);
  EXPECT_EQ(state[2], 300);
}

// the example in the documentation of gym-pusht, whose block position is set before its angle
TEST(PushT, PoseOrder) {
  PushT environment = pusht_named("pusht-absolute");
  environment.set_state(std::array<double, 5>{0, 10, 20, 30, 1.0});
  auto state = state_of(environment);
  // the example was printed from float32
  EXPECT_EQ(static_cast<float>(state[2]), 57.866196f);
  EXPECT_EQ(static_cast<float>(state[3]), 50.686398f);
  EXPECT_EQ(state[4], 1.0);
  environment = pusht_named("pusht-absolute:order=angle");
  environment.set_state(std::array<double, 5>{0, 10, 20, 30, 1.0});
  state = state_of(environment);
  EXPECT_NEAR(state[2], 20, 1e-12);
  EXPECT_NEAR(state[3], 30, 1e-12);
}

TEST(PushT, ResetOfTheAbsoluteVariantsIsNumPys) {
  PushT environment = pusht_named("pusht-absolute:order=angle");
  environment.reset(50);
  // numpy.random.RandomState(50), in the order of the published reset
  EXPECT_THAT(environment.factor_value("agent.start_position"), testing::ElementsAre(226, 445));
  EXPECT_THAT(environment.factor_value("block.start_position"), testing::ElementsAre(209, 389));
  EXPECT_NEAR(environment.factor_value("block.angle")[0], -4.78951108360721, 1e-14);
}

TEST(PushT, ResetDrawsAndTakesFactors) {
  PushT environment;
  environment.reset(1);
  const auto first = state_of(environment);
  environment.reset(2);
  EXPECT_NE(state_of(environment), first);
  environment.reset(1);
  EXPECT_EQ(state_of(environment), first);
  EXPECT_EQ(environment.factors().size(), 17u);

  ResetOptions options;
  options.values["agent.color"] = {1, 2, 3};
  options.values["agent.start_position"] = {60, 60};
  options.values["block.start_position"] = {300, 300};
  environment.reset(1, options);
  const auto frame = frame_of(environment);
  // the rim of the agent's disc, half way between its radii
  const auto* pixel = &frame[static_cast<std::size_t>((26 * 224 + 26 + 5) * 3)];
  EXPECT_EQ(pixel[0], 1);
  EXPECT_EQ(pixel[2], 3);
}

// Every block: makes a world, is pushed, looks like itself after its symmetry.
TEST(PushT, ShapesAreBodies) {
  for (int kind = 1; kind < pusht::kShapeKinds; ++kind) {
    SCOPED_TRACE(kind);
    ResetOptions options;
    options.values["block.shape"] = {static_cast<double>(kind)};
    options.values["block.start_position"] = {256, 256};
    options.values["block.angle"] = {0};
    options.values["agent.start_position"] = {256, 120};
    PushT environment;
    environment.reset(0, options);
    const auto start = state_of(environment);
    for (int t = 0; t < 12; ++t) environment.step(std::array{0.0f, 1.0f});
    const auto end = state_of(environment);
    EXPECT_GT(std::abs(end[3] - start[3]) + std::abs(end[4] - start[4]), 1) << "was not pushed";

    const pusht::BodyShape shape = pusht::body_shape(static_cast<ShapeKind>(kind), 30);
    EXPECT_NEAR(pusht::coverage(shape.parts, {200, 210}, 0.3, {200, 210}, 0.3), 1, 1e-12);
    EXPECT_EQ(pusht::coverage(shape.parts, {0, 0}, 0.3, {400, 400}, 0.3), 0);
    // within the tolerance at a turn by the symmetry, not at half of it
    std::array<double, 7> goal;
    std::copy(end.begin(), end.end(), goal.begin());
    goal[4] = end[4] + shape.symmetry;
    environment.set_goal_state(goal);
    EXPECT_TRUE(environment.measure().terminated);
    goal[4] = end[4] + shape.symmetry / 2;
    environment.set_goal_state(goal);
    EXPECT_FALSE(environment.measure().terminated);
  }
}

// A dynamic agent moves by its control too, and is held by the walls.
TEST(PushT, AgentsOfOtherShapes) {
  for (int kind = 1; kind < pusht::kShapeKinds; ++kind) {
    SCOPED_TRACE(kind);
    ResetOptions options;
    options.values["agent.shape"] = {static_cast<double>(kind)};
    options.values["agent.scale"] = {20};
    options.values["agent.start_position"] = {100, 100};
    options.values["block.start_position"] = {400, 400};
    PushT environment;
    environment.reset(0, options);
    const auto start = state_of(environment);
    environment.step(std::array{1.0f, 0.0f});
    EXPECT_GT(state_of(environment)[0], start[0]);
    frame_of(environment);
  }
}

TEST(PushT, SuccessNeedsPositionAndAngle) {
  PushT environment;
  environment.set_state(std::array<double, 7>{100, 100, 300, 300, 1, 0, 0});
  environment.set_goal_state(std::array<double, 7>{100, 119, 300, 300, 1.3, 0, 0});
  Step step = environment.measure();
  EXPECT_TRUE(step.terminated);
  EXPECT_NEAR(step.distance, std::hypot(19, 0.3), 1e-9);
  EXPECT_EQ(step.reward, -step.distance);
  // 15 and 15 pixels are 21 together
  environment.set_goal_state(std::array<double, 7>{100, 115, 315, 300, 1, 0, 0});
  EXPECT_FALSE(environment.measure().terminated);
  environment.set_goal_state(std::array<double, 7>{100, 100, 300, 300, 1 + kPi / 8, 0, 0});
  EXPECT_FALSE(environment.measure().terminated);
  // whole turns do not count, velocities neither
  environment.set_goal_state(std::array<double, 7>{100, 100, 300, 300, 1 - 4 * kPi, 50, 0});
  EXPECT_TRUE(environment.measure().terminated);
}

TEST(PushT, CoverageOfTheGoalPose) {
  PushT environment = pusht_named("pusht-absolute:order=angle");
  environment.set_state(std::array<double, 5>{10, 10, 256, 256, kPi / 4});
  Step step = environment.measure();
  EXPECT_TRUE(step.terminated);
  EXPECT_EQ(step.reward, 1);
  EXPECT_NEAR(step.distance, 0, 1e-12);
  // an unturned tee, shifted by 15 along its stem
  environment.set_goal_state(std::array<double, 5>{10, 10, 256, 256, 0});
  environment.set_state(std::array<double, 5>{10, 10, 256, 271, 0});
  // bar on bar 120 x 15, bar on stem 30 x 15, stem on stem 30 x 75
  EXPECT_NEAR(environment.coverage(), (1800.0 + 450 + 2250) / 6300, 1e-12);
  EXPECT_FALSE(environment.measure().terminated);
}

TEST(PushT, SettingAStateIsAFreshStart) {
  const std::array<double, 7> pushing = {300, 240, 300, 250, 0.2, 0, 400};
  const std::array<double, 7> free = {100, 100, 300, 300, 1, 0, 0};
  PushT fresh;
  fresh.set_state(free);
  PushT used;
  used.set_state(pushing);
  used.step(std::array{0.0f, 1.0f});
  used.set_state(free);
  EXPECT_EQ(state_of(used), state_of(fresh));
  // the published environment leaves the block its velocity
  PushT kept = pusht_named("pusht:motion=kept");
  kept.set_state(pushing);
  kept.step(std::array{0.0f, 1.0f});
  kept.set_state(free);
  EXPECT_NE(state_of(kept), state_of(fresh));

  // a goal in contact shows in the published reset alone
  fresh.start_at(free, pushing);
  used.reset(5);
  used.set_state(free);
  EXPECT_EQ(state_of(fresh), state_of(used));
  kept.start_at(free, pushing);
  fresh.step(std::array{0.0f, 0.0f});
  kept.step(std::array{0.0f, 0.0f});
  EXPECT_NE(state_of(kept), state_of(fresh));
}

TEST(PushT, ActionsOfTheVariants) {
  PushT relative;
  relative.set_state(std::array<double, 7>{100, 100, 150, 300, 0, 0, 0});
  std::array<float, 2> action = {-1, 1};
  // (0, 200) is kept within 100 pixels of the block, (50, 200), then in units of 100
  ASSERT_TRUE(relative.weak_action(action));
  EXPECT_THAT(action, testing::ElementsAre(-0.5f, 1.0f));

  PushT discrete = pusht_named("pusht-discrete");
  discrete.set_state(std::array<double, 7>{100, 100, 400, 400, 0, 0, 0});
  discrete.action_towards({100, 131}, action);
  // 0.31 of 1 is bin 4 of 16, straight down a quarter turn: bin 4
  EXPECT_THAT(action, testing::ElementsAre(4, 4));
  discrete.step(action);
  const auto state = state_of(discrete);
  const double radius = 4.5 / 16;
  const double angle = 4.5 / 16 * 2 * kPi;
  EXPECT_NEAR(state[0] - 100, 29.5672 * radius * std::cos(angle), 1e-3);
  EXPECT_NEAR(state[1] - 100, 29.5672 * radius * std::sin(angle), 1e-3);

  PushT absolute = pusht_named("pusht-absolute");
  action = {0, -1};
  absolute.random_action(action);
  EXPECT_THAT(action, testing::ElementsAre(256, 0));
}

TEST(PushT, KeyPoints) {
  PushT environment = pusht_named("pusht-keypoints:order=angle");
  environment.set_state(std::array<double, 5>{20, 30, 200, 210, kPi / 2});
  std::vector<double> info(static_cast<std::size_t>(environment.info_width()));
  environment.info(info);
  // after state and agent: (-60, 0) turned by a quarter is (0, -60); then the stem's corners
  EXPECT_NEAR(info[7], 200, 1e-9);
  EXPECT_NEAR(info[8], 150, 1e-9);
  // the first of nine points, (9.2698, 90.0410)
  EXPECT_NEAR(info[23], 200 - 90.0410, 1e-9);
  EXPECT_NEAR(info[24], 210 + 9.2698, 1e-9);
  EXPECT_EQ(info[41], info[23]);
  EXPECT_EQ(info[59], 20);  // the agent, after nine points once more
  EXPECT_EQ(info[61], 1);   // the mask
}

TEST(PushT, BadInputIsRefused) {
  PushT environment;
  EXPECT_THROW(environment.set_state(std::array<double, 5>{}), Error);
  EXPECT_THROW(environment.set_state(std::array<double, 7>{1e9}), Error);
  EXPECT_THROW(environment.set_state(std::array<double, 7>{std::nan("")}), Error);
  EXPECT_THROW(environment.step(std::array{0.0f}), Error);
  EXPECT_THROW(environment.step(std::array{0.0f, INFINITY}), Error);
  std::vector<u8> small(96 * 96 * 3);
  EXPECT_THROW(environment.render(View<u8, 3>(small.data(), {96, 96, 3})), Error);
}

TEST(PushT, ExtremeActionsStayFinite) {
  PushT environment;
  environment.reset(3);
  Random random(1, 1);
  for (int t = 0; t < 200; ++t) {
    const float huge = t % 3 == 0 ? 3e38f : 30.0f;
    environment.step(std::array{huge * random.uniform(-1, 1), huge * random.uniform(-1, 1)});
    for (const double number : state_of(environment)) ASSERT_TRUE(std::isfinite(number));
    frame_of(environment);
  }
}

TEST(PushT, BatchOnThreadsIsTheSame) {
  Context ctx({.threads = 2});
  EnvironmentBatch batch("pusht", 5);
  std::vector<std::unique_ptr<Environment>> alone;
  for (i64 i = 0; i < batch.size(); ++i) {
    batch[i].reset(static_cast<u64>(i));
    alone.push_back(make_environment("pusht"));
    alone.back()->reset(static_cast<u64>(i));
  }
  std::vector<Step> steps(5);
  std::vector<u8> frames(5 * 224 * 224 * 3);
  const auto policy = make_policy("weak", batch[0], {.seed = 4});
  for (u64 t = 0; t < 30; ++t) {
    std::vector<float> actions(10);
    for (std::size_t i = 0; i < 5; ++i) {
      policy->act(*alone[i], i, t, std::span(actions).subspan(2 * i, 2));
      alone[i]->step(std::span(actions).subspan(2 * i, 2));
    }
    batch.step(ctx, View<const float, 2>(actions.data(), {5, 2}), steps);
    batch.render(ctx, View<u8, 4>(frames.data(), {5, 224, 224, 3}));
    for (std::size_t i = 0; i < 5; ++i) {
      ASSERT_EQ(state_of(batch[static_cast<i64>(i)]), state_of(*alone[i]));
      const auto frame = frame_of(*alone[i]);
      ASSERT_TRUE(std::equal(frame.begin(), frame.end(),
                             frames.begin() + static_cast<std::ptrdiff_t>(i * frame.size())));
    }
  }
}

// a demonstration of pushing in the middle of the canvas, by a weak policy
std::shared_ptr<std::vector<Demonstration>> shown() {
  auto result = std::make_shared<std::vector<Demonstration>>(1);
  Demonstration& one = result->front();
  PushT environment = pusht_named("pusht-absolute:order=angle");
  environment.set_state(std::array<double, 5>{256, 200, 256, 250, 0.1});
  for (int t = 0; t < 25; ++t) {
    const auto state = state_of(environment);
    one.states.push_back({state[0], state[1], state[2], state[3], state[4]});
    one.targets.push_back({256 + 2.0 * t, 210 + 3.0 * t});
    environment.step(std::array{static_cast<float>(one.targets.back().x),
                                static_cast<float>(one.targets.back().y)});
  }
  return result;
}

TEST(ReplayPolicy, InPlaceWithoutNoiseIsTheDemonstration) {
  const auto demonstrations = shown();
  const ReplayPolicy policy(demonstrations, {.noise = 0, .moves = false});
  PushT environment;
  environment.reset(9);
  const Policy::Course course = policy.begin(environment, 3);
  EXPECT_EQ(course.steps, 25);
  EXPECT_FALSE(course.stops_at_goal);
  for (u64 t = 0; t < 25; ++t) {
    const auto state = state_of(environment);
    for (std::size_t c = 0; c < 4; ++c) {
      // actions are float32 of targets below 512, in units of 100
      EXPECT_NEAR(state[c], demonstrations->front().states[t][c], 1e-4) << "step " << t;
    }
    std::array<float, 2> action;
    policy.act(environment, 3, t, action);
    environment.step(action);
  }
}

TEST(ReplayPolicy, MovedEpisodesAreTheDemonstrationMoved) {
  const auto demonstrations = shown();
  const ReplayPolicy policy(demonstrations, {.seed = 2, .noise = 0});
  PushT environment;
  int moved = 0;
  for (u64 episode = 0; episode < 20; ++episode) {
    environment.reset(episode);
    policy.begin(environment, episode);
    const RigidMotion motion = policy.motion_of(episode);
    moved += motion.angle != 0;
    for (u64 t = 0; t < 25; ++t) {
      const auto state = state_of(environment);
      const auto& there = demonstrations->front().states[t];
      const Point agent = motion({there[0], there[1]});
      const Point block = motion({there[2], there[3]});
      // the same up to rounding, which a contact may make a little larger
      EXPECT_NEAR(state[0], agent.x, 1e-2);
      EXPECT_NEAR(state[1], agent.y, 1e-2);
      EXPECT_NEAR(state[2], block.x, 1e-2);
      EXPECT_NEAR(state[3], block.y, 1e-2);
      EXPECT_GT(state[2], 7);
      EXPECT_LT(state[2], 504);
      std::array<float, 2> action;
      policy.act(environment, episode, t, action);
      environment.step(action);
    }
  }
  EXPECT_GT(moved, 15);
}

TEST(ReplayPolicy, NoiseIsTheSeeds) {
  const ReplayPolicy policy(shown(), {.seed = 2, .noise = 0.05f});
  const ReplayPolicy again(shown(), {.seed = 2, .noise = 0.05f});
  const ReplayPolicy other(shown(), {.seed = 3, .noise = 0.05f});
  PushT environment;
  environment.reset(0);
  policy.begin(environment, 7);
  std::array<float, 2> a;
  std::array<float, 2> b;
  std::array<float, 2> c;
  policy.act(environment, 7, 5, a);
  policy.act(environment, 8, 5, c);  // asking for another episode between changes nothing
  again.act(environment, 7, 5, b);
  EXPECT_EQ(a, b);
  other.act(environment, 7, 5, c);
  EXPECT_NE(a, c);
}

TEST(ReplayPolicy, BadInputIsRefused) {
  EXPECT_THROW(ReplayPolicy(nullptr, {}), Error);
  auto uneven = std::make_shared<std::vector<Demonstration>>(1);
  uneven->front().states.resize(2);
  EXPECT_THROW(ReplayPolicy(uneven, {}), Error);
  EXPECT_THROW(ReplayPolicy(shown(), {.noise = -1}), Error);
  const auto room = make_environment("tworoom");
  EXPECT_THAT([&] { make_policy("replay", *room, {.demonstrations = shown()}); },
              ThrowsMessage<Error>(HasSubstr("PushT")));
  const ReplayPolicy policy(shown(), {});
  EXPECT_THROW(policy.begin(*room, 0), Error);
}

}  // namespace
}  // namespace orrery
