// what a step of PushT says beside its picture: the columns of recordings

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "env/pusht.h"

namespace orrery {

using pusht::Point;
using pusht::WorldState;

namespace {

constexpr int kEngineSteps = 10;  // that contacts are averaged over

// Diffusion Policy's nine points of the tee of scale 30, in block coordinates; recovered from its
// published recordings to 1e-4
constexpr Point kBlockPoints[] = {
    {9.2698, 90.0410},   {-60.9835, -1.1867},  {60.9128, -1.3934},
    {-0.2705, 25.5436},  {-14.0649, 122.8159}, {39.0027, 32.8574},
    {-39.9664, 32.7297}, {-16.8243, 62.8632},  {23.5415, -1.7003},
};

}  // namespace

std::vector<InfoColumn> PushT::columns_of(PushTVariant variant) {
  constexpr DType kNumber = DType::f64;
  switch (variant) {
    case PushTVariant::relative:
    case PushTVariant::discrete:
      return {{"proprio", {4}, kNumber},       {"state", {7}, kNumber},
              {"pos_agent", {2}, kNumber},     {"vel_agent", {2}, kNumber},
              {"block_pose", {3}, kNumber},    {"goal_pose", {3}, kNumber},
              {"goal_state", {7}, kNumber},    {"goal_proprio", {4}, kNumber},
              {"n_contacts", {}, DType::int64}};
    case PushTVariant::absolute:
      return {{"state", {5}, kNumber},
              {"agent_pos", {2}, kNumber},
              {"coverage", {}, kNumber},
              {"n_contacts", {}, DType::int64}};
    case PushTVariant::keypoints:
      // corners of the two parts; then nine points of the block, the agent, and a mask of ones
      return {{"state", {5}, kNumber},
              {"agent_pos", {2}, kNumber},
              {"environment_state", {16}, kNumber},
              {"keypoint", {18}, kNumber},
              {"obs", {40}, kNumber},
              {"coverage", {}, kNumber},
              {"n_contacts", {}, DType::int64}};
    case PushTVariant::dino:
      return {{"proprio", {4}, DType::f32},
              {"state", {7}, DType::f32},
              {"goal_state", {7}, DType::f32},
              {"n_contacts", {}, DType::int64}};
  }
  return {};
}

void PushT::info(std::span<double> out) const {
  check(static_cast<i64>(out.size()) == info_width(), name(), ": info has ", info_width(),
        " numbers, room for ", out.size());
  std::size_t at = 0;
  const auto add = [&](std::initializer_list<double> values) {
    for (const double value : values) out[at++] = value;
  };
  const WorldState now = world_->state();
  const Point& agent = now.agent;
  const Point& velocity = now.agent_velocity;
  const double angle = pusht::wrapped(now.block_angle);
  const double contacts = std::ceil(static_cast<double>(contact_points()) / kEngineSteps);

  if (absolute()) {
    add({agent.x, agent.y, now.block.x, now.block.y, angle});
    add({agent.x, agent.y});
    if (options_.variant == PushTVariant::keypoints) {
      const double c = std::cos(now.block_angle);
      const double s = std::sin(now.block_angle);
      const auto placed = [&](const Point& p) {
        return Point{c * p.x - s * p.y + now.block.x, s * p.x + c * p.y + now.block.y};
      };
      std::array<double, 16> corners = {};  // zeros beyond the corners of a block of one part
      std::size_t filled = 0;
      for (const auto& part : world_->block_parts()) {
        for (const Point& corner : part) {
          if (filled == corners.size()) break;
          const Point p = placed(corner);
          corners[filled++] = p.x;
          corners[filled++] = p.y;
        }
      }
      for (const double value : corners) add({value});
      const std::size_t first = at;
      for (const Point& point : kBlockPoints) {
        const Point p = placed(point);
        add({p.x, p.y});
      }
      std::copy_n(out.begin() + static_cast<std::ptrdiff_t>(first), 18,
                  out.begin() + static_cast<std::ptrdiff_t>(at));
      at += 18;
      add({agent.x, agent.y});
      for (int i = 0; i < 20; ++i) add({1.0});
    }
    add({coverage(), contacts});
    return;
  }

  const auto add_goal = [&] {
    for (const double value : goal_) add({value});
  };
  add({agent.x, agent.y, velocity.x, velocity.y});
  add({agent.x, agent.y, now.block.x, now.block.y, angle, velocity.x, velocity.y});
  if (options_.variant == PushTVariant::dino) {
    add_goal();
  } else {
    add({agent.x, agent.y});
    add({velocity.x, velocity.y});
    add({now.block.x, now.block.y, now.block_angle});
    add({goal_position_.x, goal_position_.y, goal_angle_});
    add_goal();
    add({goal_[0], goal_[1], goal_[5], goal_[6]});
  }
  add({contacts});
}

}  // namespace orrery
