#include "env/tworoom.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "env/batch.h"
#include "env/policy.h"

namespace orrery {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr i64 kSize = tworoom::kImageSize;

std::array<double, 2> state_of(const Environment& room) {
  std::array<double, 2> state;
  room.state(state);
  return state;
}

void place(Environment& room, double x, double y, double goal_x, double goal_y) {
  room.set_state(std::array{x, y});
  room.set_goal_state(std::array{goal_x, goal_y});
}

std::vector<u8> frame_of(const Environment& room) {
  std::vector<u8> pixels(static_cast<std::size_t>(kSize * kSize * 3));
  room.render(View<u8, 3>(pixels.data(), {kSize, kSize, 3}));
  return pixels;
}

TEST(TwoRoom, MovesByActionTimesSpeedAndStopsAtTheBorder) {
  TwoRoom room;
  place(room, 60, 112, 164, 112);
  room.step(std::array{0.5f, -0.25f});
  EXPECT_EQ(state_of(room), (std::array{62.5, 110.75}));
  // actions are clamped to 1, 5 pixels a step
  room.step(std::array{-7.0f, 0.0f});
  EXPECT_EQ(state_of(room), (std::array{57.5, 110.75}));
  for (int i = 0; i < 20; ++i) room.step(std::array{-1.0f, 1.0f});
  EXPECT_EQ(state_of(room), (std::array{21.0, 203.0}));
}

TEST(TwoRoom, WallStopsOutsideTheDoorOnBothSides) {
  TwoRoom room;
  place(room, 96, 150, 30, 30);
  room.step(std::array{1.0f, 0.0f});
  // 112 - 5 - 7, less half a pixel
  EXPECT_EQ(state_of(room)[0], 99.5);
  place(room, 128, 150, 30, 30);
  room.step(std::array{-1.0f, 0.0f});
  EXPECT_EQ(state_of(room)[0], 124.5);
  // the door reaches 14 + 1.75 from 49
  place(room, 98, 64.75, 30, 30);
  room.step(std::array{1.0f, 0.0f});
  EXPECT_EQ(state_of(room)[0], 103.0);
  place(room, 98, 64.875, 30, 30);
  room.step(std::array{1.0f, 0.0f});
  EXPECT_EQ(state_of(room)[0], 99.5);
}

TEST(TwoRoom, DriftingSidewaysInTheOpeningIsThrownBackToItsSide) {
  TwoRoom room;
  place(room, 111, 64, 30, 30);
  room.step(std::array{0.0f, 1.0f});
  EXPECT_EQ(state_of(room), (std::array{99.5, 69.0}));
  place(room, 112, 64, 30, 30);
  room.step(std::array{0.0f, 1.0f});
  EXPECT_EQ(state_of(room), (std::array{124.5, 69.0}));
}

TEST(TwoRoom, ReachedWhenNearerThanSixteen) {
  TwoRoom room;
  place(room, 60, 100, 60, 116);
  EXPECT_FALSE(room.measure().terminated);
  EXPECT_EQ(room.measure().distance, 16.0);
  EXPECT_TRUE(room.step(std::array{0.0f, 0.125f}).terminated);
}

// the drawing again, from its description: every pixel, exponential in double
std::vector<u8> plain_frame(const TwoRoom& room, int* wall_pixels) {
  const auto factor = [&](const char* name, std::size_t c = 0) {
    return room.factor_value(name)[c];
  };
  const auto agent = state_of(room);
  const double radius = factor("agent.radius");
  const int half = static_cast<int>(factor("wall.thickness")) / 2;
  double largest = 0;
  for (int y = 0; y < kSize; ++y) {
    for (int x = 0; x < kSize; ++x) {
      const double d2 = std::pow(x - agent[0], 2) + std::pow(y - agent[1], 2);
      largest = std::max(largest, std::exp(-d2 / (2 * radius * radius)));
    }
  }
  std::vector<u8> pixels;
  *wall_pixels = 0;
  for (int y = 0; y < kSize; ++y) {
    for (int x = 0; x < kSize; ++x) {
      const bool vertical = factor("wall.axis") == 1;
      const int across = vertical ? x : y;
      const int along = vertical ? y : x;
      const char* surface = "background.color";
      if (std::abs(across - 112) <= half) {
        surface = "wall.color";
        for (std::size_t d = 0; d < factor("door.number"); ++d) {
          if (std::abs(along - factor("door.position", d)) <= factor("door.size", d)) {
            surface = "door.color";
          }
        }
      }
      for (const int i : {x, y}) {
        if ((i >= 10 && i < 14) || (i >= 210 && i < 214)) surface = "wall.color";
      }
      *wall_pixels += std::string(surface) == "wall.color";
      const double d2 = std::pow(x - agent[0], 2) + std::pow(y - agent[1], 2);
      const auto alpha = static_cast<float>(std::exp(-d2 / (2 * radius * radius)) / largest);
      for (std::size_t c = 0; c < 3; ++c) {
        // float32 like the blend itself: in the tail everything hangs on how 1 - alpha is rounded
        const auto old = static_cast<float>(factor(surface, c));
        const auto colour = static_cast<float>(factor("agent.color", c));
        pixels.push_back(static_cast<u8>(old * (1 - alpha) + colour * alpha));
      }
    }
  }
  return pixels;
}

TEST(TwoRoom, FrameEqualsThePlainLoopToOneLevel) {
  TwoRoom room;
  for (u64 seed = 0; seed < 6; ++seed) {
    room.reset(seed, {.variation = {"all"}, .values = {{"rendering.render_target", {0}}}});
    int walls = 0;
    const auto expected = plain_frame(room, &walls);
    ASSERT_GT(walls, 4000);
    const auto frame = frame_of(room);
    i64 unequal = 0;
    for (std::size_t i = 0; i < frame.size(); ++i) {
      // truncation turns the last bit of alpha into one level
      ASSERT_LE(std::abs(frame[i] - expected[i]), 1) << "seed " << seed << ", byte " << i;
      unequal += frame[i] != expected[i];
    }
    // only where a blend lands on a whole level: rare except over a background of the agent's own
    // colour
    EXPECT_LT(unequal, 200) << "seed " << seed;
  }
}

TEST(TwoRoom, GoalPictureShowsTheAgentAtTheTarget) {
  TwoRoom room;
  place(room, 50, 60, 180, 190);
  std::vector<u8> goal(static_cast<std::size_t>(kSize * kSize * 3));
  room.render_goal(View<u8, 3>(goal.data(), {kSize, kSize, 3}));
  EXPECT_NE(goal, frame_of(room));
  place(room, 180, 190, 50, 60);
  EXPECT_EQ(goal, frame_of(room));
}

TEST(TwoRoom, ResetDependsOnTheSeedAloneAndKeepsOutOfTheWall) {
  TwoRoom a, b;
  b.reset(99, {.variation = {"all"}, .values = {}});
  std::array<double, 2> first = {};
  bool differs = false;
  for (u64 seed = 0; seed < 200; ++seed) {
    a.reset(seed);
    b.reset(seed);
    ASSERT_EQ(state_of(a), state_of(b));
    ASSERT_EQ(frame_of(a), frame_of(b));
    const auto state = state_of(a);
    ASSERT_FALSE(state[0] >= 100 && state[0] <= 124) << state[0];
    ASSERT_GE(state[0], 14);
    ASSERT_LE(state[1], 209);
    if (seed == 0) first = state;
    differs = differs || state != first;
    // what is not on the default list keeps its initial value
    ASSERT_EQ(a.factor_value("agent.radius")[0], 7);
  }
  EXPECT_TRUE(differs);
}

TEST(TwoRoom, DrawnFactorsStayInRangeAndSomeDoorFits) {
  TwoRoom room;
  for (u64 seed = 0; seed < 300; ++seed) {
    room.reset(seed, {.variation = {"all"}, .values = {}});
    for (const Factor& factor : room.factors()) {
      const auto value = room.factor_value(factor.name);
      for (std::size_t c = 0; c < value.size(); ++c) {
        ASSERT_GE(value[c], factor.low[c]) << factor.name;
        ASSERT_LE(value[c], factor.high[c]) << factor.name;
        if (factor.integer) {
          ASSERT_EQ(value[c], std::floor(value[c])) << factor.name;
        }
      }
    }
    bool fits = false;
    for (std::size_t d = 0; d < room.factor_value("door.number")[0]; ++d) {
      fits =
          fits || room.factor_value("door.size")[d] >= 1.1 * room.factor_value("agent.radius")[0];
    }
    ASSERT_TRUE(fits);
  }
}

TEST(TwoRoom, VariationTakesNamesAndGroups) {
  TwoRoom room;
  room.reset(5, {.variation = {"target", "agent.speed"}, .values = {}});
  EXPECT_NE(room.factor_value("agent.speed")[0], 5);
  EXPECT_NE(room.factor_value("target.radius")[0], 7);
  EXPECT_NE(room.factor_value("target.position")[0], 164);
  EXPECT_EQ(room.factor_value("agent.position")[0], 60);  // the list replaces the default
  EXPECT_EQ(room.factor_value("wall.thickness")[0], 10);
}

TEST(TwoRoom, RefusesWhatItCannotBe) {
  TwoRoom room;
  const auto reset_with = [&](ResetOptions options) { room.reset(0, options); };
  EXPECT_THAT([&] { reset_with({.variation = {"agent.colour"}, .values = {}}); },
              ThrowsMessage<Error>(HasSubstr("agent.color")));  // the known names are listed
  EXPECT_THAT(
      [&] {
        reset_with({.variation = {}, .values = {{"door.sizes", {1}}}});
      },
      ThrowsMessage<Error>(HasSubstr("unknown factor of variation 'door.sizes'")));
  EXPECT_THAT(
      [&] {
        reset_with({.variation = {}, .values = {{"door.size", {14}}}});
      },
      ThrowsMessage<Error>(HasSubstr("takes 3 numbers, 1 were given")));
  EXPECT_THAT(
      [&] {
        reset_with({.variation = {}, .values = {{"agent.radius", {6.5}}}});
      },
      ThrowsMessage<Error>(HasSubstr("outside 7 to 14")));
  EXPECT_THAT(
      [&] {
        reset_with({.variation = {}, .values = {{"wall.axis", {0.5}}}});
      },
      ThrowsMessage<Error>(HasSubstr("whole numbers")));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(reset_with({.variation = {}, .values = {{"agent.radius", {nan}}}}), Error);
  EXPECT_THAT(
      [&] {
        reset_with({.variation = {}, .values = {{"agent.position", {112, 30}}}});
      },
      ThrowsMessage<Error>(HasSubstr("stand in the wall")));
  EXPECT_THAT(
      [&] {
        reset_with({.variation = {}, .values = {{"door.size", {7, 21, 21}}}});
      },
      ThrowsMessage<Error>(HasSubstr("no door lets an agent of radius 7 through")));
  EXPECT_THROW(room.set_state(std::array{1.0, 2.0, 3.0}), Error);
  EXPECT_THROW(room.set_state(std::array{nan, 2.0}), Error);
  EXPECT_THROW(room.set_state(std::array{224.0, 2.0}), Error);
  EXPECT_THROW(room.step(std::array{1.0f}), Error);
  EXPECT_THROW(room.step(std::array{1.0f, std::numeric_limits<float>::quiet_NaN()}), Error);
  EXPECT_THAT([] { make_environment("threeroom"); },
              ThrowsMessage<Error>(HasSubstr("known are tworoom")));
}

TEST(TwoRoom, InfoHoldsTheColumnsOneAfterTheOther) {
  TwoRoom room;
  room.reset(0,
             {.variation = {}, .values = {{"door.number", {2}}, {"door.position", {49, 150, 9}}}});
  place(room, 30, 40, 33, 44);
  std::vector<double> info(static_cast<std::size_t>(room.info_width()));
  room.info(info);
  EXPECT_EQ(info, (std::vector<double>{30, 40, 30, 40, 33, 44,                   // three points
                                       30, 40, 33, 44, 112, 49, 112, 150, 0, 0,  // observation
                                       5}));
}

TEST(Policy, ExpertWithoutNoiseReachesEveryReachableTarget) {
  TwoRoom room;
  const auto expert = make_policy("expert", room, {.seed = 0, .expert_noise = 0});
  for (u64 seed = 0; seed < 50; ++seed) {
    room.reset(seed);
    std::array<double, 2> goal;
    room.goal_state(goal);
    // inside the wall or too near to the border there is nothing to stand on
    if (std::abs(goal[0] - 112) < 26) continue;
    bool reached = false;
    for (u64 step = 0; step < 100 && !reached; ++step) {
      std::array<float, 2> action;
      expert->act(room, seed, step, action);
      reached = room.step(action).terminated;
    }
    EXPECT_TRUE(reached) << "seed " << seed;
  }
}

TEST(Policy, DrawsDependOnEpisodeAndStepAlone) {
  TwoRoom room;
  for (const char* name : {"random", "expert", "mixed"}) {
    const auto policy = make_policy(name, room, {.seed = 3, .expert_noise = 2});
    std::array<float, 2> a, b, later, other;
    policy->act(room, 4, 7, a);
    policy->act(room, 4, 8, later);
    policy->act(room, 5, 7, other);
    policy->act(room, 4, 7, b);
    EXPECT_EQ(a, b) << name;
    EXPECT_NE(a, later) << name;
    EXPECT_NE(a, other) << name;
    for (const float number : a) EXPECT_LE(std::abs(number), 1) << name;
  }
  EXPECT_THAT([&] { make_policy("weak", room); }, ThrowsMessage<Error>(HasSubstr("random")));
  EXPECT_THROW(make_policy("expert", room, {.seed = 0, .expert_noise = -1}), Error);
}

TEST(Policy, MixedIsHalfAndHalf) {
  TwoRoom room;
  const auto mixed = make_policy("mixed", room, {.seed = 1, .expert_noise = 0});
  const auto expert = make_policy("expert", room, {.seed = 1, .expert_noise = 0});
  int experts = 0;
  for (u64 episode = 0; episode < 400; ++episode) {
    std::array<float, 2> a, b;
    mixed->act(room, episode, 0, a);
    expert->act(room, episode, 0, b);
    experts += a == b;
  }
  EXPECT_NEAR(experts, 200, 60);  // six standard deviations of a fair coin
}

TEST(EnvironmentBatch, EqualsSingleEnvironmentsOnAnyNumberOfThreads) {
  constexpr i64 kCount = 5;
  for (const int threads : {1, 2, 3}) {
    Context ctx({.threads = threads});
    EnvironmentBatch batch("tworoom", kCount);
    std::vector<TwoRoom> singles(kCount);
    std::vector<float> actions(2 * kCount);
    std::vector<Step> steps(kCount);
    std::vector<u8> active(kCount, 1);
    active[3] = 0;
    actions[6] = std::numeric_limits<float>::quiet_NaN();  // of the one that stands still
    std::vector<u8> frames(static_cast<std::size_t>(kCount * kSize * kSize * 3));
    for (i64 i = 0; i < kCount; ++i) {
      const auto at = static_cast<std::size_t>(i);
      batch[i].reset(static_cast<u64>(i));
      singles[at].reset(static_cast<u64>(i));
      if (i == 3) continue;
      actions[2 * at] = uniform(1, 1, static_cast<u64>(i)) - 0.5f;
      actions[2 * at + 1] = 1;
      singles[at].step(std::span(actions).subspan(2 * at, 2));
    }
    batch.step(ctx, View<const float, 2>(actions.data(), {kCount, 2}), steps, active);
    batch.render(ctx, View<u8, 4>(frames.data(), {kCount, kSize, kSize, 3}));
    for (i64 i = 0; i < kCount; ++i) {
      const auto at = static_cast<std::size_t>(i);
      EXPECT_EQ(state_of(batch[i]), state_of(singles[at]));
      const auto expected = frame_of(singles[at]);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(),
                             frames.begin() + static_cast<std::ptrdiff_t>(at * expected.size())));
    }
    EXPECT_THROW(batch.step(ctx, View<const float, 2>(actions.data(), {kCount, 2}), steps), Error);
  }
}

}  // namespace
}  // namespace orrery
