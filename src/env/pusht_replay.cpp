#include "env/pusht_replay.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "base/error.h"
#include "base/random.h"

namespace orrery {

using pusht::Point;

namespace {

constexpr double kMiddle = pusht::kCanvasSize / 2;
constexpr double kNoiseScale = 100;  // pixels of a relative action of 1
constexpr int kAngles = 32;

// what may be swept: the agent the canvas, the block the room between the walls, which reach 2
// pixels in from 5 and 506
struct Room {
  double low;
  double high;
};
constexpr Room kAgentRoom = {0, pusht::kCanvasSize};
constexpr Room kBlockRoom = {7, 504};

// streams of one episode beside that of its noise
u64 stream_of(u64 episode) { return mix(static_cast<u64>(Stream::policy), episode); }
u64 choice_stream(u64 episode) { return mix(~static_cast<u64>(Stream::policy), episode); }
u64 motion_stream(u64 episode) { return mix(~static_cast<u64>(Stream::environment), episode); }

Point turned(const Point& p, double angle) {
  const double c = std::cos(angle);
  const double s = std::sin(angle);
  const double x = p.x - kMiddle;
  const double y = p.y - kMiddle;
  return {c * x - s * y + kMiddle, s * x + c * y + kMiddle};
}

// corners of the convex hull: all that decides whether a moved sweep fits (Andrew's monotone chain)
std::vector<Point> hull_of(std::vector<Point> points) {
  std::sort(points.begin(), points.end(),
            [](const Point& a, const Point& b) { return a.x < b.x || (a.x == b.x && a.y < b.y); });
  if (points.size() < 3) return points;
  std::vector<Point> hull;
  const auto extend = [&](const Point& p, std::size_t least) {
    while (hull.size() > least) {
      const Point& a = hull[hull.size() - 2];
      const Point& b = hull.back();
      if ((b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x) > 0) break;
      hull.pop_back();
    }
    hull.push_back(p);
  };
  for (const Point& p : points) extend(p, 1);
  const std::size_t lower = hull.size();
  for (auto p = points.rbegin() + 1; p != points.rend(); ++p) extend(*p, lower);
  hull.pop_back();
  return hull;
}

// narrows the shifts of one axis to those that keep the points inside
void narrow(std::span<const double> values, const Room& room, double& low, double& high) {
  for (const double value : values) {
    low = std::max(low, room.low - value);
    high = std::min(high, room.high - value);
  }
}

PushT& pusht_of(Environment& environment) {
  auto* pusht = dynamic_cast<PushT*>(&environment);
  check(pusht != nullptr, "the replay policy plays PushT, not ", environment.name());
  return *pusht;
}

}  // namespace

Point RigidMotion::operator()(const Point& p) const {
  if (angle == 0 && shift == Point{}) return p;
  const Point at = turned(p, angle);
  return {at.x + shift.x, at.y + shift.y};
}

ReplayPolicy::ReplayPolicy(std::shared_ptr<const std::vector<Demonstration>> demonstrations,
                           const ReplayOptions& options)
    : demonstrations_(std::move(demonstrations)), options_(options) {
  check(demonstrations_ != nullptr && !demonstrations_->empty(),
        "the replay policy needs demonstrations");
  check(std::isfinite(options.noise) && options.noise >= 0,
        "the noise of a replay is a standard deviation, ", options.noise, " was given");
  // of the block that demonstrations were made with
  const pusht::BodyShape tee = pusht::body_shape(pusht::ShapeKind::tee, 30);
  for (const Demonstration& demonstration : *demonstrations_) {
    check(!demonstration.states.empty() &&
              demonstration.states.size() == demonstration.targets.size(),
          "a demonstration has ", demonstration.states.size(), " states and ",
          demonstration.targets.size(), " targets; as many of both are needed");
    std::vector<Point> agent;
    std::vector<Point> block;
    for (const auto& state : demonstration.states) {
      agent.push_back({state[0], state[1]});
      const double c = std::cos(state[4]);
      const double s = std::sin(state[4]);
      for (const auto& part : tee.parts) {
        for (const Point& p : part) {
          block.push_back({c * p.x - s * p.y + state[2], s * p.x + c * p.y + state[3]});
        }
      }
    }
    sweeps_.push_back({hull_of(std::move(agent)), hull_of(std::move(block))});
  }
}

std::size_t ReplayPolicy::demonstration_of(u64 episode) const {
  Random random(options_.seed, choice_stream(episode));
  return static_cast<std::size_t>(random.below(demonstrations_->size()));
}

RigidMotion ReplayPolicy::find_motion(u64 episode) const {
  if (!options_.moves) return {};
  const Sweep& sweep = sweeps_[demonstration_of(episode)];
  Random random(options_.seed, motion_stream(episode));
  std::vector<double> xs;
  std::vector<double> ys;
  for (int i = 0; i < kAngles; ++i) {
    RigidMotion motion;
    motion.angle = (2 * random.uniform_double() - 1) * std::numbers::pi;
    double low_x = -std::numeric_limits<double>::infinity();
    double low_y = low_x;
    double high_x = -low_x;
    double high_y = -low_x;
    const auto add = [&](const std::vector<Point>& points, const Room& room) {
      xs.clear();
      ys.clear();
      for (const Point& p : points) {
        const Point at = turned(p, motion.angle);
        xs.push_back(at.x);
        ys.push_back(at.y);
      }
      narrow(xs, room, low_x, high_x);
      narrow(ys, room, low_y, high_y);
    };
    add(sweep.agent, kAgentRoom);
    add(sweep.block, kBlockRoom);
    const double share_x = random.uniform_double();
    const double share_y = random.uniform_double();
    if (low_x > high_x || low_y > high_y) continue;
    motion.shift = {low_x + share_x * (high_x - low_x), low_y + share_y * (high_y - low_y)};
    return motion;
  }
  return {};
}

RigidMotion ReplayPolicy::motion_of(u64 episode) const {
  const std::lock_guard lock(mutex_);
  if (!has_last_ || last_episode_ != episode) {
    last_ = find_motion(episode);
    last_episode_ = episode;
    has_last_ = true;
  }
  return last_;
}

Policy::Course ReplayPolicy::begin(Environment& environment, u64 episode) const {
  PushT& pusht = pusht_of(environment);
  const Demonstration& shown = (*demonstrations_)[demonstration_of(episode)];
  const RigidMotion motion = motion_of(episode);
  const auto moved = [&](const std::array<double, 5>& state) {
    const Point agent = motion({state[0], state[1]});
    const Point block = motion({state[2], state[3]});
    return std::array<double, 7>{agent.x, agent.y, block.x, block.y, state[4] + motion.angle, 0, 0};
  };
  const auto dim = static_cast<std::size_t>(pusht.state_dim());
  const std::array<double, 7> start = moved(shown.states.front());
  const auto placed = std::span<const double>(start).first(dim);
  pusht.set_state(placed);
  if (dim == 7) pusht.set_goal_state(moved(shown.states.back()));
  return {.steps = static_cast<i64>(shown.targets.size()),
          .stops_at_goal = false,
          .start = {placed.begin(), placed.end()}};
}

void ReplayPolicy::act(const Environment& environment, u64 episode, u64 step,
                       std::span<float> action) const {
  const auto* pusht = dynamic_cast<const PushT*>(&environment);
  check(pusht != nullptr, "the replay policy plays PushT, not ", environment.name());
  const Demonstration& shown = (*demonstrations_)[demonstration_of(episode)];
  const std::size_t at = std::min(static_cast<std::size_t>(step), shown.targets.size() - 1);
  Point target = motion_of(episode)(shown.targets[at]);
  if (options_.noise > 0) {
    const auto noise = [&](u64 component) {
      return kNoiseScale * static_cast<double>(options_.noise) *
             static_cast<double>(normal(options_.seed, stream_of(episode), 2 * step + component));
    };
    target = {target.x + noise(0), target.y + noise(1)};
  }
  pusht->action_towards(target, action);
}

}  // namespace orrery
