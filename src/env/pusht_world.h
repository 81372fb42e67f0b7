#pragma once

#include <array>
#include <memory>
#include <vector>

#include "env/pusht_shapes.h"

namespace orrery::pusht {

// One drawn body part, where the engine has it: a circle when it has a radius, else a rectangle,
// as all parts of body_shape() are.
struct DrawnShape {
  bool agent = false;
  Point centre;
  double radius = 0;
  std::array<Point, 4> corners = {};
};

// The line that a contact point is marked with.
struct ContactMark {
  Point from;
  Point to;
};

struct WorldState {
  Point agent;
  Point agent_velocity;  // pixels a second
  Point block;           // of the local origin, not of the centre of gravity
  double block_angle = 0;
};

// Of the block, about its centre of gravity; what one engine step leaves for the next.
struct BlockMotion {
  Point velocity;   // pixels a second
  double spin = 0;  // radians a second
};

// In which order the two halves of the block's pose are set. The engine turns a body about its
// centre of gravity, so setting the angle second moves the local origin.
enum class PoseOrder { angle_first, position_first };

// The arithmetic of the agent's control. With NumPy 2 the published relative variants compute it in
// float32, with NumPy 1 and in the absolute variants in double; the engine is double in both.
enum class Control { float64, float32 };

// The square of 512 x 512 pixels with four walls, a pushing agent and a block, on Chipmunk 7: no
// gravity, no friction, and all momentum of the block gone after each engine step of 0.01 s.
//
// The bodies are added in the published order, which decides the order of contacts in the solver
// and of drawing. The same calls give the same states, bit for bit, with the same build of the
// engine; Debian's gives those of the published environments.
class World {
 public:
  // The agent is kinematic when it is a circle, else dynamic, and moves through walls when it is
  // kinematic. Positions are where the bodies are made.
  World(const BodyShape& agent, double agent_angle, const BodyShape& block, const WorldState& start,
        Control control = Control::float64);
  ~World();
  World(World&&) noexcept;
  World& operator=(World&&) noexcept;

  // Moves both bodies and makes one engine step, in which the agent goes on at its velocity and
  // overlaps begin to be resolved. The block keeps the velocity it has and contacts keep their
  // impulses; in a world just made there are none.
  void set_state(const WorldState& state, PoseOrder order);
  // 0.1 s: ten times push().
  void drive(Point target);
  // The agent's velocity v at x grows by (100 (target - x) - 20 v) * 0.01, then one engine step.
  void push(Point target);

  WorldState state() const;
  BlockMotion block_motion() const;
  // contact points of all pairs, summed over the engine steps of the last call above
  int contact_points() const;

  // What is to be drawn, as the engine has it after its last step: body parts in drawing order and
  // the marks of contacts.
  void drawn(std::vector<DrawnShape>& shapes, std::vector<ContactMark>& marks) const;
  // The parts of the block in drawing order, in local coordinates; corners stand in the order of
  // the engine's hull.
  const std::vector<std::array<Point, 4>>& block_parts() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Positions, velocities and targets farther out than this are errors or are cut: far from any
// picture, and near enough that the engine's arithmetic stays finite.
inline constexpr double kFarthest = 1e5;

}  // namespace orrery::pusht
