#include "env/pusht_raster.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/error.h"

namespace orrery::pusht {

namespace {

constexpr int kMostCorners = 8;
constexpr int kFatRadius = 2;
constexpr int kFatWidth = 2 * kFatRadius;

bool in_picture(int x, int y) { return x >= 0 && x < kCanvasSize && y >= 0 && y < kCanvasSize; }

// Cuts a line at the picture's border, one pixel beyond it to the right and below, ends rounded to
// the nearest pixel; false when nothing is left (Liang and Barsky 1984).
bool cut_to_picture(IntPoint& from, IntPoint& to) {
  const int dx = to.x - from.x;
  const int dy = to.y - from.y;
  double begin = 0;
  double end = 1;
  const auto cut = [&](int at, int by) {
    if (by == 0) return at >= 0 && at <= kCanvasSize;
    const double low = static_cast<double>(-at) / by;
    const double high = static_cast<double>(kCanvasSize - at) / by;
    begin = std::max(begin, std::min(low, high));
    end = std::min(end, std::max(low, high));
    return true;
  };
  if (!cut(from.x, dx) || !cut(from.y, dy) || begin > end) return false;
  const auto along = [&](double share) {
    return IntPoint{from.x + static_cast<int>(std::round(dx * share)),
                    from.y + static_cast<int>(std::round(dy * share))};
  };
  const IntPoint first = along(begin);
  to = along(end);
  from = first;
  return true;
}

// A sloping edge of a polygon, from its upper to its lower end.
struct Edge {
  int top = 0;
  int bottom = 0;

  Edge() = default;
  // row: the first that is looked at
  Edge(IntPoint a, IntPoint b, int row) {
    if (a.y > b.y) std::swap(a, b);
    top = a.y;
    bottom = b.y;
    start_ = a.x;
    dx_ = b.x - a.x;
    dy_ = b.y - a.y;
    sign_ = dx_ < 0 ? -1 : 1;
    step_ = std::abs(dx_) / dy_;
    step_rest_ = std::abs(dx_) % dy_;
    const int covered = std::max(row - top, 0) * std::abs(dx_);
    quotient_ = covered / dy_;
    rest_ = covered % dy_;
  }

  // start + trunc((y - top) dx / dy), without a division in every row
  int x() const { return start_ + sign_ * quotient_; }
  void next() {
    quotient_ += step_;
    rest_ += step_rest_;
    if (rest_ >= dy_) {
      rest_ -= dy_;
      ++quotient_;
    }
  }
  int real_x(int y) const {
    return static_cast<int>(static_cast<double>((y - top) * dx_) / dy_ + start_);
  }

 private:
  int start_ = 0;
  int dx_ = 0;
  int dy_ = 1;
  int sign_ = 1;
  int step_ = 0;
  int step_rest_ = 0;
  int quotient_ = 0;
  int rest_ = 0;
};

}  // namespace

bool Rect::meets(const Rect& other) const {
  return x0 < other.x1 && other.x0 < x1 && y0 < other.y1 && other.y0 < y1;
}

Rect Rect::united(const Rect& other) const {
  if (empty()) return other;
  if (other.empty()) return *this;
  return {std::min(x0, other.x0), std::min(y0, other.y0), std::max(x1, other.x1),
          std::max(y1, other.y1)};
}

void Canvas::start(const Rect& window, const Colour& colour) {
  ORRERY_ASSERT(!window.empty());
  window_ = window;
  pixels_.assign(
      static_cast<std::size_t>(window.width()) * static_cast<std::size_t>(window.height()),
      packed(colour));
}

void Canvas::run(int x1, int x2, int y, u32 colour) {
  if (y < window_.y0 || y >= window_.y1) return;
  if (x1 > x2) std::swap(x1, x2);
  x1 = std::max(x1, window_.x0);
  x2 = std::min(x2, window_.x1 - 1);
  if (x1 > x2) return;
  u32* line = pixels_.data() + static_cast<std::ptrdiff_t>(y - window_.y0) * window_.width();
  std::fill(line + (x1 - window_.x0), line + (x2 - window_.x0) + 1, colour);
}

void Canvas::polygon(std::span<const IntPoint> corners, const Colour& colour, PolygonRule rule) {
  ORRERY_ASSERT(!corners.empty() && corners.size() <= kMostCorners);
  const u32 value = packed(colour);
  int top = corners[0].y;
  int bottom = top;
  int left = corners[0].x;
  int right = left;
  for (const IntPoint& p : corners) {
    top = std::min(top, p.y);
    bottom = std::max(bottom, p.y);
    left = std::min(left, p.x);
    right = std::max(right, p.x);
  }
  if (!window_.meets({left, top, right + 1, bottom + 1})) return;
  if (top == bottom) return run(left, right, top, value);

  const std::size_t n = corners.size();
  const int first = std::max(top, window_.y0);
  const int last = std::min(bottom, window_.y1 - 1);
  std::array<Edge, kMostCorners> edges;
  std::size_t sloping = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const IntPoint& a = corners[i == 0 ? n - 1 : i - 1];
    const IntPoint& b = corners[i];
    if (a.y != b.y) edges[sloping++] = Edge(a, b, first);
  }
  for (int y = first; y <= last; ++y) {
    std::array<int, kMostCorners> crossings = {};
    std::size_t count = 0;
    for (Edge& edge : std::span(edges).first(sloping)) {
      // the lowest row belongs to the edges that end there, every other one to those that begin
      if (y < edge.top || y > edge.bottom || (y == edge.bottom && y != bottom)) continue;
      const int x = rule == PolygonRule::integer ? edge.x() : edge.real_x(y);
      edge.next();
      // kept in order
      std::size_t at = count++;
      for (; at > 0 && crossings[at - 1] > x; --at) crossings[at] = crossings[at - 1];
      crossings[at] = x;
    }
    for (std::size_t i = 0; i + 1 < count; i += 2) run(crossings[i], crossings[i + 1], y, value);
  }

  // edges along a row, other than the first and last, are not in the rows above
  for (std::size_t i = 0; i < n; ++i) {
    const IntPoint& a = corners[i == 0 ? n - 1 : i - 1];
    const IntPoint& b = corners[i];
    if (a.y == b.y && top < a.y && a.y < bottom) run(a.x, b.x, a.y, value);
  }
}

void Canvas::disc(IntPoint centre, int radius, const Colour& colour) {
  const Rect around = {centre.x - radius, centre.y - radius, centre.x + radius, centre.y + radius};
  if (radius < 1 || !window_.meets(around)) return;
  const u32 value = packed(colour);
  const auto rows = [&](int half, int distance) {
    run(centre.x - half, centre.x + half - 1, centre.y + distance - 1, value);
    run(centre.x - half, centre.x + half - 1, centre.y - distance, value);
  };
  // midpoint circle: x to the right of the centre, y below it, f tells the side of the circle
  int f = 1 - radius;
  int ddx = 0;
  int ddy = -2 * radius;
  int x = 0;
  int y = radius;
  while (x < y) {
    if (f >= 0) {
      --y;
      ddy += 2;
      f += ddy;
    }
    ++x;
    ddx += 2;
    f += ddx + 1;
    if (f >= 0) rows(x, y);
    rows(y, x);
  }
}

void Canvas::thick_line(IntPoint from, IntPoint to, u32 colour) {
  constexpr int kBefore = (kFatWidth - 1) / 2;
  constexpr int kAfter = kFatWidth / 2;
  const int dx = std::abs(to.x - from.x);
  const int dy = std::abs(to.y - from.y);
  const int sx = from.x < to.x ? 1 : -1;
  const int sy = from.y < to.y ? 1 : -1;
  const bool down = dx <= dy;
  int error = (dx > dy ? dx : -dy) / 2;
  IntPoint at = from;
  IntPoint stop = to;
  if (!cut_to_picture(at, stop)) return;

  // across a flat line the four rows of one height are drawn together, when the height changes
  int since = at.x;
  const auto flush = [&] {
    for (int y = at.y - kBefore; y <= at.y + kAfter; ++y) run(since, at.x, y, colour);
  };
  const auto plot = [&] {
    if (down) run(at.x - kBefore, at.x + kAfter, at.y, colour);
  };
  // Bresenham's, with the error of the whole line even where its beginning was cut off
  const auto step = [&] {
    const int before = error;
    const bool moves_x = before > -dx;
    const bool moves_y = before < dy;
    if (!down && moves_y) flush();
    if (moves_x) {
      error -= dy;
      at.x += sx;
    }
    if (moves_y) {
      error += dx;
      at.y += sy;
      since = at.x;
    }
  };
  while ((at.x - stop.x) * sx < 0 || (at.y - stop.y) * sy < 0) {
    plot();
    step();
  }
  // where the end was cut off, on until the line has left the picture in its whole width
  const auto touches = [&] {
    return down ? in_picture(at.x - kBefore, at.y) || in_picture(at.x + kAfter, at.y)
                : in_picture(at.x, at.y - kBefore) || in_picture(at.x, at.y + kAfter);
  };
  while ((down ? at.y != to.y : at.x != to.x) && touches()) {
    plot();
    step();
  }
  down ? plot() : flush();
}

void Canvas::fat_line(IntPoint from, IntPoint to, const Colour& colour, PolygonRule rule) {
  // nothing of it lies farther than this from the line's box
  constexpr int kReach = kFatWidth;
  const Rect around = {std::min(from.x, to.x) - kReach, std::min(from.y, to.y) - kReach,
                       std::max(from.x, to.x) + kReach + 1, std::max(from.y, to.y) + kReach + 1};
  if (!window_.meets(around)) return;
  thick_line(from, to, packed(colour));
  const double across = std::abs(to.y - from.y);
  const double along = std::abs(to.x - from.x);
  if (across == 0 && along == 0) return;
  const double scale = kFatRadius / std::sqrt(across * across + along * along);
  // signs are not those of the line's direction: so it is in pymunk
  const int ox = static_cast<int>(std::nearbyint(across * scale));
  const int oy = static_cast<int>(std::nearbyint(along * scale));
  const std::array<IntPoint, 4> corners = {{{from.x - ox, from.y - oy},
                                            {from.x + ox, from.y + oy},
                                            {to.x + ox, to.y + oy},
                                            {to.x - ox, to.y - oy}}};
  polygon(corners, colour, rule);
  disc(from, kFatRadius, colour);
  disc(to, kFatRadius, colour);
}

void Canvas::blend(int x, int y, float strength, const Colour& colour) {
  if (x < window_.x0 || x >= window_.x1 || y < window_.y0 || y >= window_.y1) return;
  u32& pixel =
      pixels_[static_cast<std::size_t>(y - window_.y0) * static_cast<std::size_t>(window_.width()) +
              static_cast<std::size_t>(x - window_.x0)];
  Colour mixed;
  for (u32 c = 0; c < 3; ++c) {
    const auto old = static_cast<float>((pixel >> (8 * c)) & 0xff);
    const float value = strength * static_cast<float>(colour[c]) + (1 - strength) * old;
    mixed[c] = static_cast<u8>(value);
  }
  pixel = packed(mixed);
}

void Canvas::smooth_line(IntPoint from, IntPoint to, const Colour& colour) {
  auto x1 = static_cast<float>(from.x);
  auto y1 = static_cast<float>(from.y);
  auto x2 = static_cast<float>(to.x);
  auto y2 = static_cast<float>(to.y);
  if (from.x == to.x && from.y == to.y) return blend(from.x, from.y, 1, colour);

  // x runs along the longer side
  const bool steep = std::abs(x2 - x1) < std::abs(y2 - y1);
  if (steep) {
    std::swap(x1, y1);
    std::swap(x2, y2);
  }
  if (x2 < x1) {
    std::swap(x1, x2);
    std::swap(y1, y2);
  }
  const auto put = [&](int x, int y, float strength) {
    steep ? blend(y, x, strength, colour) : blend(x, y, strength, colour);
  };

  // the part outside the picture is cut off, one pixel beyond its border
  constexpr float kLow = -1;
  constexpr float kHigh = kCanvasSize;
  if (x2 <= kLow || x1 >= kHigh) return;
  const float slope = (y2 - y1) / (x2 - x1);
  if (x1 < kLow) {
    y1 += slope * (kLow - x1);
    x1 = kLow;
  }
  if (x2 > kHigh) {
    y2 += slope * (kHigh - x2);
    x2 = kHigh;
  }
  if (std::max(y1, y2) <= kLow || std::min(y1, y2) >= kHigh) return;
  const auto cut = [&](float& x, float& y) {
    const float limit = y < kLow ? kLow : kHigh;
    if (y >= kLow && y <= kHigh) return;
    x += (limit - y) / slope;
    y = limit;
  };
  cut(x1, y1);
  cut(x2, y2);

  // one row down, so that truncation is floor, and drawn one row up
  y1 += 1;
  y2 += 1;
  const auto end = [&](float x, float y, float gap) {
    const int column = static_cast<int>(x);
    const int row = static_cast<int>(y);
    const float below = y - static_cast<float>(row);
    if (below > 0) put(column, row, below * gap);
    put(column, row - 1, (1 - below) * gap);
  };
  auto column = static_cast<int>(x1);
  const auto first = static_cast<float>(column);
  float y = y1 + slope * (first - x1);
  if (x2 > kLow + 1) {
    end(first, y, 1 + first - x1);
    y += slope;
    ++column;
  }
  const float last = std::ceil(x2);
  if (x1 < kHigh - 1) end(last, y2 + slope * (last - x2), 1 - last + x2);

  for (int x = column; x < static_cast<int>(last); ++x) {
    const int row = static_cast<int>(y);
    const auto whole = static_cast<float>(row);
    put(x, row - 1, 1 - y + whole);
    if (whole < y) put(x, row, y - whole);
    y += slope;
  }
}

}  // namespace orrery::pusht
