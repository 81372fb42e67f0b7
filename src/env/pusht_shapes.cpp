#include "env/pusht_shapes.h"

#include <cmath>
#include <numbers>

#include "base/error.h"

namespace orrery::pusht {

namespace {

constexpr double kPi = std::numbers::pi;

std::array<Point, 4> box(double left, double top, double right, double bottom) {
  return {{{left, top}, {left, bottom}, {right, bottom}, {right, top}}};
}

std::vector<Point> placed(std::span<const Point> part, Point origin, double angle) {
  const double c = std::cos(angle);
  const double s = std::sin(angle);
  std::vector<Point> result;
  for (const Point& v : part) {
    result.push_back({c * v.x - s * v.y + origin.x, s * v.x + c * v.y + origin.y});
  }
  return result;
}

// twice the area, signed by the direction of the outline
double doubled_area(std::span<const Point> polygon) {
  double sum = 0;
  for (std::size_t i = 0; i < polygon.size(); ++i) {
    const Point& a = polygon[i];
    const Point& b = polygon[(i + 1) % polygon.size()];
    sum += a.x * b.y - b.x * a.y;
  }
  return sum;
}

// the part of convex `polygon` on the inner side of each edge of convex `window` (Sutherland and
// Hodgman 1974)
std::vector<Point> clipped(std::vector<Point> polygon, std::span<const Point> window) {
  const double side = doubled_area(window) < 0 ? -1 : 1;
  for (std::size_t e = 0; e < window.size() && !polygon.empty(); ++e) {
    const Point& a = window[e];
    const Point& b = window[(e + 1) % window.size()];
    const auto inside = [&](const Point& p) {
      return side * ((b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x));
    };
    std::vector<Point> kept;
    for (std::size_t i = 0; i < polygon.size(); ++i) {
      const Point& from = polygon[i];
      const Point& to = polygon[(i + 1) % polygon.size()];
      const double d0 = inside(from);
      const double d1 = inside(to);
      if (d0 >= 0) kept.push_back(from);
      if ((d0 < 0) != (d1 < 0)) {
        const double t = d0 / (d0 - d1);
        kept.push_back({from.x + t * (to.x - from.x), from.y + t * (to.y - from.y)});
      }
    }
    polygon = std::move(kept);
  }
  return polygon;
}

}  // namespace

BodyShape body_shape(ShapeKind kind, double s) {
  switch (kind) {
    case ShapeKind::circle:
      return {.radius = 0.375 * s, .symmetry = 2 * kPi};
    case ShapeKind::l:
      return {.parts = {box(0, 0, s, 2 * s), box(0, -s, 2 * s, 0)},
              .moment_parts = {0, 1},
              .symmetry = 2 * kPi};
    case ShapeKind::tee:
      return {.parts = {box(-2 * s, 0, 2 * s, s), box(-s / 2, s, s / 2, 4 * s)},
              .moment_parts = {0, 0},
              .symmetry = 2 * kPi};
    case ShapeKind::z:
      return {.parts = {box(-s / 2, 0, 3 * s / 2, s), box(-3 * s / 2, -s, s / 2, 0)},
              .moment_parts = {0, 1},
              .symmetry = kPi};
    case ShapeKind::square:
      return {.parts = {box(-s, -s, s, s)}, .moment_parts = {0}, .symmetry = kPi / 2};
    case ShapeKind::i:
      return {.parts = {box(-s / 2, -2 * s, s / 2, 2 * s)}, .moment_parts = {0}, .symmetry = kPi};
    case ShapeKind::small_tee:
      return {.parts = {box(-3 * s / 2, 0, 3 * s / 2, s), box(-s / 2, s, s / 2, 2 * s)},
              .moment_parts = {0, 1},
              .symmetry = 2 * kPi};
    case ShapeKind::plus:
      return {
          .parts = {box(-3 * s / 2, -s / 2, 3 * s / 2, s / 2), box(-s / 2, s / 2, s / 2, 3 * s / 2),
                    box(-s / 2, -3 * s / 2, s / 2, -s / 2)},
          .moment_parts = {0, 0, 0},
          .symmetry = kPi / 2};
  }
  fail("pusht: there is no shape ", static_cast<int>(kind));
}

double coverage(std::span<const std::array<Point, 4>> parts, Point block, double block_angle,
                Point goal, double goal_angle) {
  double covered = 0;
  double whole = 0;
  for (const auto& goal_part : parts) {
    const std::vector<Point> window = placed(goal_part, goal, goal_angle);
    whole += std::abs(doubled_area(goal_part));
    for (const auto& part : parts) {
      covered += std::abs(doubled_area(clipped(placed(part, block, block_angle), window)));
    }
  }
  return covered / whole;
}

double wrapped(double angle) {
  constexpr double kTurn = 2 * kPi;
  const double rest = std::fmod(angle, kTurn);
  // a turn may be the nearest double of a tiny negative rest plus a turn; so it is in Python
  return rest < 0 ? rest + kTurn : rest;
}

}  // namespace orrery::pusht
