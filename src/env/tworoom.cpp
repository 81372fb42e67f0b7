#include "env/tworoom.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace orrery {

using tworoom::kBorder;
using tworoom::kImageSize;
using tworoom::kMaxDoors;
using tworoom::kWallCentre;

namespace {

constexpr double kReached = 16;        // terminated when nearer
constexpr double kDoorMargin = 1.75;   // a door lets through this much beyond its ends
constexpr double kPushBack = 0.5;      // how far before the wall a stopped agent stands
constexpr double kDoorFit = 1.1;       // a door fits an agent of 1 / 1.1 of its half extent
constexpr float kDoorReached = 10.5f;  // the expert leaves the door for the target when nearer

// the factors in their sampling order; Factors::Factors lists them in the same
enum FactorIndex : i64 {
  kBackgroundColour,
  kWallColour,
  kBorderColour,
  kWallThickness,
  kWallAxis,
  kAgentColour,
  kAgentRadius,
  kAgentPosition,
  kAgentSpeed,
  kDoorColour,
  kDoorNumber,
  kDoorSize,
  kDoorPosition,
  kMinSteps,
  kTargetColour,
  kTargetRadius,
  kTargetPosition,
  kRenderTarget,
};

Factor colour(const char* name, double red, double green, double blue) {
  return {name, {red, green, blue}, {0, 0, 0}, {255, 255, 255}, true, false};
}

Factor number(const char* name, double initial, double low, double high, bool integer) {
  return {name, {initial}, {low}, {high}, integer, false};
}

Factor position(const char* name, double x, double y) {
  // inside the border lines, without regard to the radius
  constexpr double kLow = kBorder;
  constexpr double kHigh = kImageSize - kBorder - 1;
  return {name, {x, y}, {kLow, kLow}, {kHigh, kHigh}, false, true};
}

Factor per_door(const char* name, double initial, double low, double high) {
  return {name,
          std::vector<double>(kMaxDoors, initial),
          std::vector<double>(kMaxDoors, low),
          std::vector<double>(kMaxDoors, high),
          true,
          false};
}

float distance_between(const std::array<float, 2>& a, const std::array<float, 2>& b) {
  const float dx = a[0] - b[0];
  const float dy = a[1] - b[1];
  // the sum is fused, as in torch.norm: dx^2 is rounded, dy^2 is not
  const double sum =
      static_cast<double>(dx * dx) + static_cast<double>(dy) * static_cast<double>(dy);
  return std::sqrt(static_cast<float>(sum));
}

}  // namespace

TwoRoom::Factors::Factors()
    : Variation({
          colour("background.color", 255, 255, 255),
          colour("wall.color", 0, 0, 0),
          // the published drawing uses the wall's colour for the border too
          colour("wall.border_color", 0, 0, 0),
          number("wall.thickness", 10, 7, 41, true),
          // 1: the wall is vertical
          number("wall.axis", 1, 0, 1, true),
          colour("agent.color", 255, 0, 0),
          number("agent.radius", 7, 7, 14, false),
          position("agent.position", 60, 112),
          number("agent.speed", 5, 1.75, 10.5, false),
          colour("door.color", 255, 255, 255),
          number("door.number", 1, 1, kMaxDoors, true),
          per_door("door.size", 14, 1, 21),
          per_door("door.position", 49, 0, kImageSize - 1),
          // kept for its name: the published environment does not use it either
          number("task.min_steps", 25, 15, 114, true),
          colour("target.color", 0, 255, 0),
          number("target.radius", 7, 7, 14, false),
          position("target.position", 164, 112),
          number("rendering.render_target", 0, 0, 1, true),
      }) {}

std::string TwoRoom::Factors::broken(i64 factor) const {
  const double radius = value(kAgentRadius, 0);
  if (factor == kAgentPosition) {
    const i64 across = value(kWallAxis, 0) == 1 ? 0 : 1;
    const double reach = std::floor(value(kWallThickness, 0) / 2) + radius;
    const double at = value(kAgentPosition, across);
    if (at >= kWallCentre - reach && at <= kWallCentre + reach) {
      return text("the agent would stand in the wall, at ", at, " of ", kWallCentre - reach, " to ",
                  kWallCentre + reach);
    }
  }
  if (factor == kDoorSize) {
    const auto sizes = value(kDoorSize);
    const auto used = static_cast<std::size_t>(value(kDoorNumber, 0));
    const bool fits = std::any_of(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(used),
                                  [&](double size) { return size >= kDoorFit * radius; });
    if (!fits) return text("no door lets an agent of radius ", radius, " through");
  }
  return {};
}

TwoRoom::TwoRoom() { reset(0); }

void TwoRoom::reset(u64 seed, const ResetOptions& options) {
  variation_.reset(seed, options);
  const auto colour_of = [&](i64 factor) {
    tworoom::Colour result;
    for (std::size_t c = 0; c < 3; ++c) {
      result[c] = static_cast<u8>(variation_.value(factor, static_cast<i64>(c)));
    }
    return result;
  };
  look_.background = colour_of(kBackgroundColour);
  look_.wall = colour_of(kWallColour);
  look_.door = colour_of(kDoorColour);
  look_.vertical = variation_.value(kWallAxis, 0) == 1;
  look_.half_thickness = static_cast<int>(variation_.value(kWallThickness, 0)) / 2;
  look_.doors = static_cast<int>(variation_.value(kDoorNumber, 0));
  for (std::size_t d = 0; d < kMaxDoors; ++d) {
    look_.door_position[d] = static_cast<int>(variation_.value(kDoorPosition, static_cast<i64>(d)));
    look_.door_size[d] = static_cast<int>(variation_.value(kDoorSize, static_cast<i64>(d)));
  }
  radius_ = static_cast<float>(variation_.value(kAgentRadius, 0));
  speed_ = static_cast<float>(variation_.value(kAgentSpeed, 0));
  shows_target_ = variation_.value(kRenderTarget, 0) == 1;
  for (std::size_t c = 0; c < 2; ++c) {
    agent_[c] = static_cast<float>(variation_.value(kAgentPosition, static_cast<i64>(c)));
    target_[c] = static_cast<float>(variation_.value(kTargetPosition, static_cast<i64>(c)));
  }
  draw_background();
}

namespace {

std::array<float, 2> checked_point(const char* what, std::span<const double> state) {
  check(state.size() == 2, "tworoom: ", what, " has ", state.size(), " numbers, 2 are needed");
  for (const double number : state) {
    check(number >= 0 && number <= kImageSize - 1, "tworoom: ", what, " (", state[0], ", ",
          state[1], ") is outside the picture, 0 to ", kImageSize - 1);
  }
  return {static_cast<float>(state[0]), static_cast<float>(state[1])};
}

}  // namespace

void TwoRoom::set_state(std::span<const double> state) { agent_ = checked_point("state", state); }

void TwoRoom::set_goal_state(std::span<const double> state) {
  target_ = checked_point("goal state", state);
  if (shows_target_) draw_background();
}

void TwoRoom::state(std::span<double> out) const {
  check(out.size() == 2, "tworoom: a state has 2 numbers, room for ", out.size());
  std::copy(agent_.begin(), agent_.end(), out.begin());
}

void TwoRoom::goal_state(std::span<double> out) const {
  check(out.size() == 2, "tworoom: a goal state has 2 numbers, room for ", out.size());
  std::copy(target_.begin(), target_.end(), out.begin());
}

bool TwoRoom::in_a_door(float along) const {
  for (std::size_t d = 0; d < static_cast<std::size_t>(look_.doors); ++d) {
    const double centre = look_.door_position[d];
    const double reach = look_.door_size[d] + kDoorMargin;
    if (along >= centre - reach && along <= centre + reach) return true;
  }
  return false;
}

TwoRoom::Point TwoRoom::collide(const Point& from, const Point& to) const {
  // the published code leaves float32 here and comes back to it with the result
  const double radius = radius_;
  Point result;
  for (std::size_t c = 0; c < 2; ++c) {
    result[c] = static_cast<float>(
        std::clamp<double>(to[c], kBorder + radius, kImageSize - kBorder - radius));
  }
  const std::size_t across = look_.vertical ? 0 : 1;
  const double near_edge = kWallCentre - look_.half_thickness - radius;
  const double far_edge = kWallCentre + look_.half_thickness + radius;
  if (in_a_door(result[1 - across])) return result;
  if (from[across] < kWallCentre) {
    if (result[across] > near_edge) result[across] = static_cast<float>(near_edge - kPushBack);
  } else {
    if (result[across] < far_edge) result[across] = static_cast<float>(far_edge + kPushBack);
  }
  return result;
}

Step TwoRoom::step(std::span<const float> action) {
  check(action.size() == 2, "tworoom: action has ", action.size(), " numbers, 2 are needed");
  check(std::isfinite(action[0]) && std::isfinite(action[1]), "tworoom: action (", action[0], ", ",
        action[1], ") is not finite");
  Point to;
  for (std::size_t c = 0; c < 2; ++c) {
    to[c] = agent_[c] + std::clamp(action[c], -1.0f, 1.0f) * speed_;
  }
  agent_ = collide(agent_, to);
  return measure();
}

Step TwoRoom::measure() const {
  const float distance = distance_between(agent_, target_);
  return {.terminated = distance < kReached, .reward = 0, .distance = distance};
}

void TwoRoom::draw_background() {
  // most resets change only where the agent stands
  if (!background_.empty() && !shows_target_ && !drawn_target_ && look_ == drawn_look_) return;
  background_.resize(static_cast<std::size_t>(kImageSize * kImageSize * 3));
  const View<u8, 3> frame(background_.data(), {kImageSize, kImageSize, 3});
  tworoom::draw_room(look_, frame);
  if (shows_target_) {
    tworoom::Colour target_colour;
    for (std::size_t c = 0; c < 3; ++c) {
      target_colour[c] = static_cast<u8>(variation_.value(kTargetColour, static_cast<i64>(c)));
    }
    tworoom::blend_dot(frame, target_[0], target_[1],
                       static_cast<float>(variation_.value(kTargetRadius, 0)), target_colour);
  }
  drawn_look_ = look_;
  drawn_target_ = shows_target_;
}

void TwoRoom::draw(View<u8, 3> frame, const Point& agent) const {
  check(frame.shape() == Shape({kImageSize, kImageSize, 3}) && frame.contiguous(),
        "tworoom: a frame has shape (224, 224, 3), ", frame.shape(), " was given");
  std::memcpy(frame.data(), background_.data(), background_.size());
  tworoom::Colour agent_colour;
  for (std::size_t c = 0; c < 3; ++c) {
    agent_colour[c] = static_cast<u8>(variation_.value(kAgentColour, static_cast<i64>(c)));
  }
  tworoom::blend_dot(frame, agent[0], agent[1], radius_, agent_colour);
}

void TwoRoom::render(View<u8, 3> frame) const { draw(frame, agent_); }
void TwoRoom::render_goal(View<u8, 3> frame) const { draw(frame, target_); }
void TwoRoom::render_state(std::span<const double> state, View<u8, 3> frame) const {
  draw(frame, checked_point("state", state));
}

std::span<const InfoColumn> TwoRoom::info_columns() const {
  // the numeric columns of the published TwoRoom recordings
  static const std::array<InfoColumn, 5> columns = {{
      {"proprio", {2}, DType::f32},
      {"pos_agent", {2}, DType::f32},
      {"pos_target", {2}, DType::f32},
      // agent, target, then the centres of up to three doors, (0, 0) for a missing one
      {"observation", {4 + 2 * kMaxDoors}, DType::f32},
      {"distance_to_target", {}, DType::f64},
  }};
  return columns;
}

void TwoRoom::info(std::span<double> out) const {
  check(static_cast<i64>(out.size()) == info_width(), "tworoom: info has ", info_width(),
        " numbers, room for ", out.size());
  std::size_t at = 0;
  const auto add = [&](const Point& point) {
    for (const float number : point) out[at++] = number;
  };
  add(agent_);   // proprio
  add(agent_);   // pos_agent
  add(target_);  // pos_target
  add(agent_);   // observation from here
  add(target_);
  for (int d = 0; d < kMaxDoors; ++d) {
    const auto along = static_cast<float>(look_.door_position[static_cast<std::size_t>(d)]);
    const auto wall = static_cast<float>(kWallCentre);
    add(d >= look_.doors ? Point{0, 0} : look_.vertical ? Point{wall, along} : Point{along, wall});
  }
  out[at] = measure().distance;
}

bool TwoRoom::expert_action(std::span<float> action) const {
  check(action.size() == 2, "tworoom: an action has 2 numbers, room for ", action.size());
  const std::size_t across = look_.vertical ? 0 : 1;
  Point waypoint = target_;
  if ((agent_[across] > kWallCentre) != (target_[across] > kWallCentre)) {
    Point nearest = target_;
    nearest[across] = kWallCentre;  // the wall level with the target, unless a door fits
    float nearest_distance = -1;
    for (std::size_t d = 0; d < static_cast<std::size_t>(look_.doors); ++d) {
      if (look_.door_size[d] < kDoorFit * static_cast<double>(radius_)) continue;
      Point door;
      door[across] = kWallCentre;
      door[1 - across] = static_cast<float>(look_.door_position[d]);
      const float distance = distance_between(agent_, door);
      if (nearest_distance < 0 || distance < nearest_distance) {
        nearest_distance = distance;
        nearest = door;
      }
    }
    const bool at_the_door = nearest_distance >= 0 && nearest_distance <= kDoorReached;
    if (!at_the_door) waypoint = nearest;
  }
  const float dx = waypoint[0] - agent_[0];
  const float dy = waypoint[1] - agent_[1];
  const float length = std::sqrt(dx * dx + dy * dy);
  action[0] = length > 1e-8f ? dx / length : 0.0f;
  action[1] = length > 1e-8f ? dy / length : 0.0f;
  return true;
}

}  // namespace orrery
