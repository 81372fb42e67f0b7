#include "env/pusht.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/numpy_random.h"
#include "base/random.h"

namespace orrery {

using pusht::Point;
using pusht::PoseOrder;
using pusht::WorldState;

namespace {

constexpr double kPi = std::numbers::pi;
constexpr double kActionScale = 100;  // pixels of a relative action of 1
constexpr double kPositionReached = 20;
constexpr double kAngleReached = kPi / 9;
constexpr double kCoverageReached = 0.95;
constexpr double kWeakReach = 100;           // of the weak policy, around the block
constexpr double kUsualGoalAngle = kPi / 4;  // of the drawn goal, unless a factor says otherwise
constexpr int kBins = 16;                    // of a discrete action, in distance and in direction

// the factors in their sampling order; Factors::Factors lists them in the same
enum FactorIndex : i64 {
  kBackgroundColour,
  kGoalColour,
  kGoalScale,
  kGoalAngle,
  kGoalPosition,
  kBlockColour,
  kBlockScale,
  kBlockShape,
  kBlockAngle,
  kBlockStart,
  kAgentColour,
  kAgentScale,
  kAgentShape,
  kAgentAngle,
  kAgentStart,
  kAgentVelocity,
  kRenderGoal,
};

Factor colour(const char* name, double red, double green, double blue) {
  return {name, {red, green, blue}, {0, 0, 0}, {255, 255, 255}, true, false};
}

Factor number(const char* name, double initial, double low, double high, bool integer) {
  return {name, {initial}, {low}, {high}, integer, false};
}

Factor pair(const char* name, double x, double y, double low, double high, bool drawn) {
  return {name, {x, y}, {low, low}, {high, high}, false, drawn};
}

// the value that a component of [-1, 1] stands for among `kBins` bins of equal width
float bin_of(double share) {
  return static_cast<float>(std::clamp(static_cast<int>(share * kBins), 0, kBins - 1));
}

}  // namespace

PushT::Factors::Factors()
    : Variation({
          colour("background.color", 255, 255, 255),
          colour("goal.color", 144, 238, 144),
          // kept for its name: the goal is drawn with the block's own parts
          number("goal.scale", 40, 20, 60, false),
          number("goal.angle", kUsualGoalAngle, -2 * kPi, 2 * kPi, false),
          pair("goal.position", 256, 256, 50, 450, false),
          colour("block.color", 119, 136, 153),
          number("block.scale", 30, 20, 60, false),
          number("block.shape", 2, 1, pusht::kShapeKinds - 1, true),
          {"block.angle", {0}, {-2 * kPi}, {2 * kPi}, false, true},
          pair("block.start_position", 400, 100, 100, 400, true),
          colour("agent.color", 65, 105, 225),
          number("agent.scale", 40, 20, 60, false),
          number("agent.shape", 0, 0, pusht::kShapeKinds - 1, true),
          number("agent.angle", 0, -2 * kPi, 2 * kPi, false),
          pair("agent.start_position", 256, 400, 50, 450, true),
          pair("agent.velocity", 0, 0, 0, 512, false),
          number("rendering.render_goal", 1, 0, 1, true),
      }) {}

PushT::PushT(const PushTOptions& options)
    : options_(options), columns_(columns_of(options.variant)), painter_(options.size) {
  reset(0);
}

std::string_view PushT::name() const { return pusht_name(options_.variant); }

void PushT::reset(u64 seed, const ResetOptions& options) {
  variation_.reset(seed, options);
  const auto kind = [&](i64 factor) {
    return static_cast<pusht::ShapeKind>(static_cast<int>(variation_.value(factor, 0)));
  };
  agent_shape_ = pusht::body_shape(kind(kAgentShape), variation_.value(kAgentScale, 0));
  block_shape_ = pusht::body_shape(kind(kBlockShape), variation_.value(kBlockScale, 0));

  start_agent_ = {variation_.value(kAgentStart, 0), variation_.value(kAgentStart, 1)};
  start_block_ = {variation_.value(kBlockStart, 0), variation_.value(kBlockStart, 1)};
  start_angle_ = {variation_.value(kBlockAngle, 0)};
  if (reset_by_numpy() && options.variation.empty()) {
    OldNumpyRandom random(seed);
    const auto given = [&](const char* name) { return options.values.count(name) != 0; };
    std::array<double, 2> agent;
    std::array<double, 2> block;
    for (double& x : agent) x = random.integer(50, 450);
    for (double& x : block) x = random.integer(100, 400);
    const double angle = random.normal() * 2 * kPi - kPi;
    if (!given("agent.start_position")) start_agent_ = agent;
    if (!given("block.start_position")) start_block_ = block;
    if (!given("block.angle")) start_angle_ = {angle};
  }
  const WorldState start = {
      .agent = {start_agent_[0], start_agent_[1]},
      .agent_velocity = {variation_.value(kAgentVelocity, 0), variation_.value(kAgentVelocity, 1)},
      .block = {start_block_[0], start_block_[1]},
      .block_angle = start_angle_[0]};

  goal_position_ = {variation_.value(kGoalPosition, 0), variation_.value(kGoalPosition, 1)};
  // factors are float32 values, but the published angle of the drawn goal is a double
  goal_angle_ = variation_.value(kGoalAngle, 0);
  if (goal_angle_ == static_cast<float>(kUsualGoalAngle)) goal_angle_ = kUsualGoalAngle;
  if (absolute()) {
    goal_ = {start.agent.x, start.agent.y,          goal_position_.x,      goal_position_.y,
             goal_angle_,   start.agent_velocity.x, start.agent_velocity.y};
  } else {
    draw_goal_state(seed);
  }

  start_world(start);
  update_look();
}

void PushT::start_world(const WorldState& start) {
  target_.reset();
  world_ = std::make_unique<pusht::World>(make_world());
  if (options_.keeps_motion && !reset_by_numpy()) {
    world_->set_state({.agent = {goal_[0], goal_[1]},
                       .agent_velocity = {goal_[5], goal_[6]},
                       .block = {goal_[2], goal_[3]},
                       .block_angle = goal_[4]},
                      options_.order);
  }
  world_->set_state(start, options_.order);
}

void PushT::start_at(std::span<const double> state, std::span<const double> goal) {
  const WorldState start = checked_state("state", state);
  set_goal_state(goal);
  start_world(start);
}

void PushT::draw_goal_state(u64 seed) {
  // a stream beside those of the factors
  Random random(seed, mix(static_cast<u64>(Stream::environment), ~u64{0}));
  const auto drawn = [&](i64 factor, std::size_t component) {
    const Factor& range = variation_.factors()[static_cast<std::size_t>(factor)];
    return range.low[component] +
           (range.high[component] - range.low[component]) * random.uniform_double();
  };
  goal_[0] = drawn(kAgentStart, 0);
  goal_[1] = drawn(kAgentStart, 1);
  goal_[2] = drawn(kBlockStart, 0);
  goal_[3] = drawn(kBlockStart, 1);
  goal_[4] = drawn(kBlockAngle, 0);
  goal_[5] = variation_.value(kAgentVelocity, 0);
  goal_[6] = variation_.value(kAgentVelocity, 1);
}

std::span<const double> PushT::factor_value(std::string_view name) const {
  const i64 index = variation_.index_of(name);
  if (index == kAgentStart) return start_agent_;
  if (index == kBlockStart) return start_block_;
  if (index == kBlockAngle) return start_angle_;
  return variation_.value(index);
}

pusht::World PushT::make_world() const {
  // Where bodies stood before their first state shows: the order in which they come near each other
  // is that of their contacts, and the angle matters where the position is set first.
  WorldState home = {.agent = {256, 400}, .block = {256, 300}};
  if (!reset_by_numpy()) {
    home = {.agent = {start_agent_[0], start_agent_[1]},
            .block = {start_block_[0], start_block_[1]},
            .block_angle = start_angle_[0]};
  }
  return pusht::World(agent_shape_, variation_.value(kAgentAngle, 0), block_shape_, home,
                      absolute() ? pusht::Control::float64 : options_.control);
}

void PushT::update_look() {
  const auto colour_of = [&](i64 factor) {
    pusht::Colour result;
    for (std::size_t c = 0; c < 3; ++c) {
      result[c] = static_cast<u8>(variation_.value(factor, static_cast<i64>(c)));
    }
    return result;
  };
  painter_.set_look({.background = colour_of(kBackgroundColour),
                     .goal = colour_of(kGoalColour),
                     .block = colour_of(kBlockColour),
                     .agent = colour_of(kAgentColour),
                     .draws_goal = options_.draws_goal && variation_.value(kRenderGoal, 0) == 1,
                     .goal_position = goal_position_,
                     .goal_angle = goal_angle_,
                     .goal_parts = world_->block_parts(),
                     .rule = options_.polygons});
}

WorldState PushT::checked_state(const char* what, std::span<const double> state) const {
  check(static_cast<i64>(state.size()) == state_dim(), name(), ": ", what, " has ", state.size(),
        " numbers, ", state_dim(), " are needed");
  for (std::size_t i = 0; i < state.size(); ++i) {
    check(std::abs(state[i]) <= pusht::kFarthest, name(), ": ", what, " is ", state[i],
          " in component ", i, ", at most ", pusht::kFarthest, " is possible");
  }
  WorldState result = {
      .agent = {state[0], state[1]}, .block = {state[2], state[3]}, .block_angle = state[4]};
  if (state.size() == 7) result.agent_velocity = {state[5], state[6]};
  return result;
}

void PushT::set_state(std::span<const double> state) {
  const WorldState wanted = checked_state("state", state);
  target_.reset();
  if (!options_.keeps_motion) *world_ = make_world();
  world_->set_state(wanted, options_.order);
}

void PushT::set_goal_state(std::span<const double> state) {
  const WorldState goal = checked_state("goal state", state);
  std::copy(state.begin(), state.end(), goal_.begin());
  if (!absolute()) return;
  goal_position_ = goal.block;
  goal_angle_ = goal.block_angle;
  update_look();
}

void PushT::state(std::span<double> out) const {
  check(static_cast<i64>(out.size()) == state_dim(), name(), ": a state has ", state_dim(),
        " numbers, room for ", out.size());
  const WorldState now = world_->state();
  const std::array<double, 7> all = {now.agent.x,
                                     now.agent.y,
                                     now.block.x,
                                     now.block.y,
                                     pusht::wrapped(now.block_angle),
                                     now.agent_velocity.x,
                                     now.agent_velocity.y};
  std::copy_n(all.begin(), out.size(), out.begin());
}

void PushT::goal_state(std::span<double> out) const {
  check(static_cast<i64>(out.size()) == state_dim(), name(), ": a goal state has ", state_dim(),
        " numbers, room for ", out.size());
  std::copy_n(goal_.begin(), out.size(), out.begin());
}

// relative: the step from the agent in units of 100 pixels
Point PushT::unit_target(std::span<const float> action) const {
  if (options_.variant != PushTVariant::discrete) return {action[0], action[1]};
  // the middle of a bin; numbers between bins belong to the nearest
  const auto middle = [](float bin) {
    return (std::clamp<double>(std::nearbyint(bin), 0, kBins - 1) + 0.5) / kBins;
  };
  const double radius = middle(action[0]);
  const double angle = middle(action[1]) * 2 * kPi;
  return {static_cast<float>(radius * std::cos(angle)),
          static_cast<float>(radius * std::sin(angle))};
}

Point PushT::target_of(std::span<const float> action) const {
  if (absolute()) return {action[0], action[1]};
  const Point unit = unit_target(action);
  const Point agent = world_->state().agent;
  if (options_.control == pusht::Control::float32) {
    const auto moved = [](double from, double by) {
      return static_cast<float>(from) + static_cast<float>(by) * static_cast<float>(kActionScale);
    };
    return {moved(agent.x, unit.x), moved(agent.y, unit.y)};
  }
  return {agent.x + unit.x * kActionScale, agent.y + unit.y * kActionScale};
}

Step PushT::step(std::span<const float> action) {
  check(action.size() == 2, name(), ": action has ", action.size(), " numbers, 2 are needed");
  check(std::isfinite(action[0]) && std::isfinite(action[1]), name(), ": action (", action[0], ", ",
        action[1], ") is not finite");
  target_ = target_of(action);
  world_->drive(*target_);
  return measure();
}

double PushT::coverage() const {
  const WorldState now = world_->state();
  return pusht::coverage(block_shape_.parts, now.block, now.block_angle, goal_position_,
                         goal_angle_);
}

Step PushT::measure() const {
  Step result;
  if (absolute()) {
    const double covered = coverage();
    result.terminated = covered > kCoverageReached;
    result.reward = std::clamp(covered / kCoverageReached, 0.0, 1.0);
    result.distance = 1 - covered;
    return result;
  }
  std::array<double, 7> now;
  state(now);
  double positions = 0;
  double all = 0;
  for (std::size_t i = 0; i < now.size(); ++i) {
    const double difference = goal_[i] - now[i];
    all += difference * difference;
    if (i < 4) positions = all;
  }
  double turn = std::fmod(std::abs(goal_[4] - now[4]), block_shape_.symmetry);
  turn = std::min(turn, block_shape_.symmetry - turn);
  result.terminated = std::sqrt(positions) < kPositionReached && turn < kAngleReached;
  result.distance = std::sqrt(all);
  result.reward = options_.variant == PushTVariant::dino
                      ? std::clamp(coverage() / kCoverageReached, 0.0, 1.0)
                      : -result.distance;
  return result;
}

void PushT::render_world(const pusht::World& world, View<u8, 3> frame) const {
  world.drawn(shapes_, marks_);
  painter_.draw(shapes_, marks_, frame);
}

void PushT::render(View<u8, 3> frame) const {
  render_world(*world_, frame);
  if (options_.draws_action && target_) pusht::draw_cross(*target_, frame);
}

void PushT::render_goal(View<u8, 3> frame) const {
  const WorldState goal = checked_state(
      "goal state", std::span<const double>(goal_).first(static_cast<std::size_t>(state_dim())));
  pusht::World world = make_world();
  world.set_state(goal, options_.order);
  render_world(world, frame);
}

void PushT::render_state(std::span<const double> state, View<u8, 3> frame) const {
  check(!options_.draws_action, name(),
        ": a state does not tell the action that action=drawn marks in its picture");
  check(agent_shape_.parts.empty(), name(),
        ": a state does not tell how an agent turns that is no disc (agent.shape)");
  WorldState still = checked_state("state", state);
  // at rest, so that the engine step that finds the contacts moves nothing; the angle first, for
  // then the origin is where it is put
  still.agent_velocity = {};
  pusht::World world = make_world();
  world.set_state(still, PoseOrder::angle_first);
  render_world(world, frame);
}

void PushT::random_action(std::span<float> action) const {
  for (float& component : action) {
    const double share = (static_cast<double>(component) + 1) / 2;
    if (options_.variant == PushTVariant::discrete) component = bin_of(share);
    if (absolute()) component = static_cast<float>(share * pusht::kCanvasSize);
  }
}

bool PushT::weak_action(std::span<float> action) const {
  const WorldState now = world_->state();
  const auto kept = [](double from, float by, double block) {
    return std::clamp(from + kActionScale * static_cast<double>(by), block - kWeakReach,
                      block + kWeakReach);
  };
  action_towards(
      {kept(now.agent.x, action[0], now.block.x), kept(now.agent.y, action[1], now.block.y)},
      action);
  return true;
}

void PushT::action_towards(const Point& target, std::span<float> action) const {
  if (absolute()) {
    action[0] = static_cast<float>(target.x);
    action[1] = static_cast<float>(target.y);
    return;
  }
  const Point agent = world_->state().agent;
  const double x = std::clamp((target.x - agent.x) / kActionScale, -1.0, 1.0);
  const double y = std::clamp((target.y - agent.y) / kActionScale, -1.0, 1.0);
  if (options_.variant == PushTVariant::discrete) {
    action[0] = bin_of(std::sqrt(x * x + y * y));
    action[1] = bin_of(pusht::wrapped(std::atan2(y, x)) / (2 * kPi));
    return;
  }
  action[0] = static_cast<float>(x);
  action[1] = static_cast<float>(y);
}

}  // namespace orrery
