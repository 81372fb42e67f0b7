#pragma once

#include <array>
#include <span>
#include <vector>

#include "base/types.h"

namespace orrery::pusht {

struct Point {
  double x = 0;
  double y = 0;

  bool operator==(const Point&) const = default;
};

// What a body of PushT may look like, in the order of the published factor `shape`.
enum class ShapeKind { circle, l, tee, z, square, i, small_tee, plus };
inline constexpr int kShapeKinds = 8;

// A body's outline around its local origin, in pixels, y downwards: a circle of `radius`, or else
// rectangles. Corners stand as the published environment gives them to the engine, which makes
// its own hull of each part.
struct BodyShape {
  double radius = 0;
  std::vector<std::array<Point, 4>> parts;
  // Which parts count for the moment of inertia. The published tee takes its bar twice and never
  // its stem, the plus its bar three times.
  std::vector<int> moment_parts;
  // A turn by this angle looks the same, as far as success is concerned.
  double symmetry = 0;
};

// scale: the agent's circle has radius 0.375 scale, the tee a bar of 4 scale x scale and a stem of
// scale x 3 scale.
BodyShape body_shape(ShapeKind kind, double scale);

// Share of the goal that the block covers, both the same rectangles at two poses (local origin and
// angle): sum over pairs of parts of area(block part ^ goal part) / sum of the goal's areas. Parts
// of one body overlap in edges only.
//
// tolerant: another order of the same double arithmetic than Shapely's; within 1e-9
double coverage(std::span<const std::array<Point, 4>> parts, Point block, double block_angle,
                Point goal, double goal_angle);

// What an angle is measured in: value mod 2 pi as Python has it, in [0, 2 pi). exact
double wrapped(double angle);

}  // namespace orrery::pusht
