#include "data/demonstrations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "data/episodes.h"
#include "data/recorder.h"
#include "io/npz.h"

namespace orrery {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

std::filesystem::path file(const std::string& name) {
  return std::filesystem::path(testing::TempDir()) / ("demonstrations_test_" + name);
}

// two episodes of 3 and 2 rows
TensorMap arrays(i64 state_width) {
  TensorMap map;
  std::vector<float> states;
  std::vector<float> actions;
  for (i64 row = 0; row < 5; ++row) {
    for (i64 c = 0; c < state_width; ++c) states.push_back(static_cast<float>(100 + 10 * row + c));
    actions.push_back(static_cast<float>(row));
    actions.push_back(static_cast<float>(-row));
  }
  map.emplace("state", Tensor::of<float>({5, state_width}, std::span<const float>(states)));
  map.emplace("action", Tensor::of<float>({5, 2}, std::span<const float>(actions)));
  const std::vector<i64> ends = {3, 5};
  map.emplace("episode_ends", Tensor::of<i64>({2}, std::span<const i64>(ends)));
  return map;
}

TEST(Demonstrations, PointsOfTheCanvas) {
  write_npz(file("points.npz"), arrays(5));
  const auto shown = read_demonstrations(file("points.npz"));
  ASSERT_EQ(shown.size(), 2u);
  ASSERT_EQ(shown[1].states.size(), 2u);
  EXPECT_THAT(shown[1].states[0], testing::ElementsAre(130, 131, 132, 133, 134));
  EXPECT_EQ(shown[1].targets[1], (pusht::Point{4, -4}));
}

TEST(Demonstrations, RelativeActions) {
  TensorMap map = arrays(7);
  float* actions = map.at("action").data<float>();
  actions[4] = actions[5] = std::numeric_limits<float>::quiet_NaN();  // the last of episode 0
  write_npz(file("relative.npz"), map);
  const auto shown = read_demonstrations(file("relative.npz"));
  EXPECT_EQ(shown[0].targets[1], (pusht::Point{110 + 100, 111 - 100}));
  EXPECT_EQ(shown[0].targets[2], (pusht::Point{120, 121}));  // stays

  actions[0] = std::numeric_limits<float>::quiet_NaN();
  write_npz(file("relative.npz"), map);
  EXPECT_THAT([] { read_demonstrations(file("relative.npz")); },
              ThrowsMessage<Error>(HasSubstr("row 0")));
}

TEST(Demonstrations, BadFilesAreRefused) {
  const auto refused = [](TensorMap map, const char* why) {
    write_npz(file("bad.npz"), map);
    EXPECT_THAT([] { read_demonstrations(file("bad.npz")); }, ThrowsMessage<Error>(HasSubstr(why)));
  };
  refused(arrays(6), "5 or 7");
  TensorMap map = arrays(5);
  map.erase("action");
  refused(std::move(map), "no column 'action'");
  for (const std::vector<i64>& ends :
       {std::vector<i64>{3, 4}, std::vector<i64>{3, 3, 5}, std::vector<i64>{3, 6}}) {
    map = arrays(5);
    map.at("episode_ends") =
        Tensor::of<i64>({static_cast<i64>(ends.size())}, std::span<const i64>(ends));
    refused(std::move(map), "row");
  }
  map = arrays(5);
  map.at("state").data<float>()[3] = 1e20f;
  refused(std::move(map), "row 0");
}

// what is recorded from a replay can be replayed again
TEST(Demonstrations, RecordingsOfReplaysAreDemonstrations) {
  auto shown = std::make_shared<std::vector<Demonstration>>(1);
  for (int t = 0; t < 12; ++t) {
    shown->front().states.push_back({256, 200.0 + 2 * t, 256, 260, 0.3});
    shown->front().targets.push_back({256, 220.0 + 5 * t});
  }
  Context ctx({.threads = 1});
  RecordOptions options = {
      .environment = "pusht:size=96", .policy = "replay", .episodes = 3, .image_size = 96};
  options.demonstrations = shown;
  options.replay_noise = 0;
  options.replay_moves = false;
  const RecordSummary summary =
      record(ctx, options, file("replay.h5"), [](i64, i64) { return true; });
  EXPECT_EQ(summary.rows, 3 * 13);
  const auto again = read_demonstrations(file("replay.h5"));
  ASSERT_EQ(again.size(), 3u);
  ASSERT_EQ(again[0].targets.size(), 13u);
  for (std::size_t t = 0; t < 12; ++t) {
    EXPECT_NEAR(again[2].targets[t].y, shown->front().targets[t].y, 1e-4);
  }
}

TEST(Demonstrations, FoldsShareThemOut) {
  std::vector<Demonstration> all(7);
  for (std::size_t i = 0; i < 7; ++i) all[i].states.push_back({static_cast<double>(i), 0, 0, 0, 0});
  const auto numbers = [&](const std::string& fold, bool others) {
    std::vector<double> of;
    for (const Demonstration& one : choose(all, fold_from_text(fold, "--fold"), others)) {
      of.push_back(one.states[0][0]);
    }
    return of;
  };
  EXPECT_THAT(numbers("2/3", false), testing::ElementsAre(2, 5));
  EXPECT_THAT(numbers("2/3", true), testing::ElementsAre(0, 1, 3, 4, 6));
  EXPECT_THAT([&] { numbers("0/1", true); },
              ThrowsMessage<Error>(HasSubstr("of 7 demonstrations fold 0/1 leaves none")));
  EXPECT_THAT([&] { numbers("8/9", false); },
              ThrowsMessage<Error>(HasSubstr("of 7 demonstrations fold 8/9 has none")));
  for (const char* wrong : {"", "3", "3/3", "-1/3", "1/0", "1/3x", "a/b", "1/"}) {
    EXPECT_THAT([&] { fold_from_text(wrong, "--fold"); },
                ThrowsMessage<Error>(HasSubstr("is no fold")))
        << wrong;
  }
}

}  // namespace
}  // namespace orrery
