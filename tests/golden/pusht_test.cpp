// PushT against traces and frames of the published environments.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <map>
#include <numbers>
#include <sstream>

#include "env/pusht.h"
#include "io/json.h"
#include "io/npz.h"
#include "media/image.h"
#include "shared.h"

namespace orrery {
namespace {

using pusht::Point;
using pusht::PoseOrder;
using pusht::World;
using pusht::WorldState;

using Row = std::map<std::string, double>;

// a table of numbers with a line of names above
std::vector<Row> read_table(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  std::vector<std::string> names;
  std::stringstream header(line);
  for (std::string cell; std::getline(header, cell, ',');) names.push_back(cell);
  std::vector<Row> rows;
  while (std::getline(file, line)) {
    rows.emplace_back();
    std::stringstream cells(line);
    for (const std::string& name : names) {
      std::string cell;
      std::getline(cells, cell, ',');
      rows.back()[name] = std::stod(cell);
    }
  }
  return rows;
}

WorldState state_of(const std::vector<double>& s) {
  return {.agent = {s[0], s[1]},
          .agent_velocity = {s[5], s[6]},
          .block = {s[2], s[3]},
          .block_angle = s[4]};
}

World tee_world(const WorldState& at) {
  return World(pusht::body_shape(pusht::ShapeKind::circle, 40), 0,
               pusht::body_shape(pusht::ShapeKind::tee, 30), at);
}

void expect_equal(const World& world, const Row& row, const char* where) {
  const WorldState now = world.state();
  const pusht::BlockMotion motion = world.block_motion();
  const std::array<double, 10> ours = {
      now.agent.x,       now.agent.y,          now.block.x,          now.block.y,
      now.block_angle,   now.agent_velocity.x, now.agent_velocity.y, motion.velocity.x,
      motion.velocity.y, motion.spin};
  const std::array<double, 10> theirs = {
      row.at("agent_x"),     row.at("agent_y"),  row.at("block_x"),  row.at("block_y"),
      row.at("block_angle"), row.at("agent_vx"), row.at("agent_vy"), row.at("block_vx"),
      row.at("block_vy"),    row.at("block_w")};
  EXPECT_EQ(ours, theirs) << where << " of step " << row.at("t");
}

TEST(GoldenPushT, TracesAreEqualToTheLastBit) {
  const auto folder = shared_folder() / "data" / "pusht-golden";
  ORRERY_NEEDS_SHARED(folder / "meta.json");
  const nlohmann::json cases = read_json(folder / "meta.json");
  ASSERT_FALSE(cases.empty());
  int compared = 0;
  for (const auto& golden : cases) {
    const std::string name = "traj" + std::to_string(golden.at("traj").get<int>());
    SCOPED_TRACE(name);
    const auto goal = state_of(golden.at("goal_state"));
    const auto start = state_of(golden.at("start_state"));
    World world = tee_world(goal);
    world.set_state(goal, PoseOrder::angle_first);
    world.set_state(start, PoseOrder::angle_first);

    const auto rows = read_table(folder / (name + ".csv"));
    const auto substeps = read_table(folder / (name + "_substeps.csv"));
    ASSERT_FALSE(rows.empty());
    ASSERT_FALSE(substeps.empty());
    expect_equal(world, rows[0], "start");
    std::size_t next = 0;  // of substeps
    for (std::size_t t = 1; t < rows.size(); ++t) {
      const Row& row = rows[t];
      // float32 values times 100 in double: the traces' own arithmetic
      const Point agent = world.state().agent;
      const Point target = {agent.x + 100 * row.at("action_x"), agent.y + 100 * row.at("action_y")};
      int points = 0;
      for (int i = 0; i < 10; ++i) {
        world.push(target);
        points += world.contact_points();
        if (next < substeps.size() && substeps[next].at("t") == static_cast<double>(t)) {
          expect_equal(world, substeps[next], "sub-step");
          EXPECT_EQ(world.contact_points(), substeps[next].at("contact_points"));
          ++next;
        }
      }
      expect_equal(world, row, "end");
      const WorldState now = world.state();
      EXPECT_EQ(points, row.at("contact_points_over_10_substeps"));
      EXPECT_EQ(pusht::wrapped(now.block_angle), row.at("block_angle_mod2pi"));
      EXPECT_NEAR(pusht::coverage(pusht::body_shape(pusht::ShapeKind::tee, 30).parts, now.block,
                                  now.block_angle, {256, 256}, std::numbers::pi / 4),
                  row.at("coverage_vs_256_256_pi4"), 1e-12)
          << "step " << t;
      ++compared;
    }
    EXPECT_EQ(next, substeps.size());
  }
  EXPECT_GT(compared, 0);
  RecordProperty("steps", compared);
}

// frame by frame from the start, as the traces were made: contacts are part of the picture
TEST(GoldenPushT, FramesAreEqualByteForByte) {
  const auto folder = shared_folder() / "data" / "pusht-golden";
  ORRERY_NEEDS_SHARED(folder / "meta.json");
  std::map<int, pusht::Painter> painters;
  for (const int size : {96, 224, 512}) painters.emplace(size, size);
  int compared = 0;
  for (const auto& golden : read_json(folder / "meta.json")) {
    const std::string name = "traj" + std::to_string(golden.at("traj").get<int>());
    const auto goal = state_of(golden.at("goal_state"));
    World world = tee_world(goal);
    world.set_state(goal, PoseOrder::angle_first);
    world.set_state(state_of(golden.at("start_state")), PoseOrder::angle_first);
    const auto rows = read_table(folder / (name + ".csv"));
    for (std::size_t t = 0; t < rows.size(); ++t) {
      if (t > 0) {
        const Point agent = world.state().agent;
        world.drive(
            {agent.x + 100 * rows[t].at("action_x"), agent.y + 100 * rows[t].at("action_y")});
      }
      char number[32];
      std::snprintf(number, sizeof number, "_t%03zu", t);
      if (!golden.at("frames").contains(name + number)) continue;
      std::vector<pusht::DrawnShape> shapes;
      std::vector<pusht::ContactMark> marks;
      world.drawn(shapes, marks);
      EXPECT_EQ(marks.size(), golden.at("frames").at(name + number).at("contact_segments").size());
      for (auto& [size, painter] : painters) {
        painter.set_look({.goal_angle = std::numbers::pi / 4, .goal_parts = world.block_parts()});
        std::vector<u8> frame(static_cast<std::size_t>(size * size * 3));
        painter.draw(shapes, marks, View<u8, 3>(frame.data(), {size, size, 3}));
        const auto path = folder / (name + number + "_" + std::to_string(size) + ".png");
        EXPECT_TRUE(read_image(path).rgb == frame) << path;
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 0);
  RecordProperty("frames", compared);
}

// Every recorded action of both sets, open loop from the seeded start. The second set was recorded
// by a later version of the tool: the angle is set first, and not wrapped.
TEST(GoldenPushT, HumanEpisodesAreReplayed) {
  const auto folder = shared_folder() / "data" / "pusht-human-demos";
  struct Set {
    const char* file;
    const char* environment;
    bool wraps;
  };
  constexpr Set kSets[] = {
      {"pusht_cchi_v7_replay_lowdim.npz", "pusht-absolute", true},
      {"pusht_keypoint_x356_y356_lowdim.npz", "pusht-absolute:order=angle", false}};
  int episodes = 0;
  int rows = 0;
  double worst = 0;
  for (const Set& set : kSets) {
    ORRERY_NEEDS_SHARED(folder / set.file);
    const TensorMap arrays = read_npz(folder / set.file);
    const Tensor actions = arrays.at("action").converted(DType::f32);
    const Tensor states = arrays.at("state").converted(DType::f64);
    const auto action = actions.view<float, 2>();
    const auto recorded = states.view<double, 2>();
    const Tensor ends = arrays.at("episode_ends").converted(DType::int64);
    PushT environment(pusht_options(set.environment));
    u64 seed = 0;
    i64 row = 0;
    for (const i64 end : ends.span<i64>()) {
      environment.reset(seed++);
      for (; row < end; ++row) {
        std::array<double, 5> state;
        environment.state(state);
        if (!set.wraps) state[4] = environment.block_angle();
        for (std::size_t c = 0; c < state.size(); ++c) {
          const double difference = std::abs(state[c] - recorded(row, static_cast<i64>(c)));
          worst = std::max(worst, difference);
          // half a step of float32 below 512 is 1.53e-5
          ASSERT_LE(difference, 2e-5) << set.file << ", row " << row << ", component " << c;
        }
        environment.step(std::array{action(row, 0), action(row, 1)});
      }
      ++episodes;
    }
    EXPECT_EQ(row, actions.size(0));
    rows += static_cast<int>(row);
  }
  EXPECT_GT(episodes, 0);
  RecordProperty("episodes", episodes);
  RecordProperty("rows", rows);
  RecordProperty("worst_difference", std::to_string(worst));
}

}  // namespace
}  // namespace orrery
