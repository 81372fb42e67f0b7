#pragma once

#include <array>
#include <span>
#include <vector>

#include "base/types.h"

namespace orrery::pusht {

inline constexpr int kCanvasSize = 512;  // a side of the whole picture

using Colour = std::array<u8, 3>;  // red, green, blue

// How the left end of a polygon's row is rounded. `integer`: pygame up to 2.5.2, with which the
// human demonstrations and the published PushT recordings were drawn. `real`: pygame 2.6, whose
// edges that run leftwards stand one pixel off.
enum class PolygonRule { integer, real };

struct IntPoint {
  int x = 0;
  int y = 0;
};

// Pixels x0 <= x < x1, y0 <= y < y1.
struct Rect {
  int x0 = 0;
  int y0 = 0;
  int x1 = 0;
  int y1 = 0;

  bool empty() const { return x0 >= x1 || y0 >= y1; }
  int width() const { return x1 - x0; }
  int height() const { return y1 - y0; }
  // whether they have a pixel in common, and the smallest rectangle around both
  bool meets(const Rect& other) const;
  Rect united(const Rect& other) const;
};

// A window of a picture, drawn with the primitives of pygame's `draw` module: what falls into the
// window has exactly the pixels of the whole picture. That takes care with lines that leave the
// picture, because pygame cuts them at its border before it walks along them.
//
// Coordinates keep away from the ends of int: |x|, |y| <= 2^24, and polygons span at most 2^14.
// exact
class Canvas {
 public:
  // Starts anew with a window all of one colour. Memory grows to the largest window and stays.
  void start(const Rect& window, const Colour& colour);
  const Rect& window() const { return window_; }

  // red | green << 8 | blue << 16, inside the window
  const u32* row(int y) const {
    return pixels_.data() + static_cast<std::ptrdiff_t>(y - window_.y0) * window_.width() -
           window_.x0;
  }

  // both ends belong to the line
  void horizontal(int x1, int x2, int y, const Colour& colour) { run(x1, x2, y, packed(colour)); }
  // at most eight corners
  void polygon(std::span<const IntPoint> corners, const Colour& colour, PolygonRule rule);
  // of even diameter: the centre lies between pixels
  void disc(IntPoint centre, int radius, const Colour& colour);
  // four pixels thick, with round ends and a filled quadrilateral along it: pymunk's fat segment of
  // radius 2, odd corners included
  void fat_line(IntPoint from, IntPoint to, const Colour& colour, PolygonRule rule);
  // blended over what is there, in float32
  void smooth_line(IntPoint from, IntPoint to, const Colour& colour);

 private:
  static u32 packed(const Colour& c) { return c[0] | (c[1] << 8u) | (u32{c[2]} << 16u); }
  void run(int x1, int x2, int y, u32 colour);
  void thick_line(IntPoint from, IntPoint to, u32 colour);
  void blend(int x, int y, float strength, const Colour& colour);

  Rect window_;
  std::vector<u32> pixels_;
};

}  // namespace orrery::pusht
