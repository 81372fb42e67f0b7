#pragma once

#include <array>
#include <span>
#include <vector>

#include "env/pusht_raster.h"
#include "env/pusht_world.h"
#include "tensor/view.h"

namespace orrery::pusht {

// Everything of the picture that does not move.
struct Look {
  Colour background = {255, 255, 255};
  Colour goal = {144, 238, 144};
  Colour block = {119, 136, 153};
  Colour agent = {65, 105, 225};
  bool draws_goal = true;
  Point goal_position = {256, 256};
  double goal_angle = 0;
  std::vector<std::array<Point, 4>> goal_parts;  // local corners, see World::block_parts
  PolygonRule rule = PolygonRule::integer;

  bool operator==(const Look&) const = default;
};

// Pictures of PushT: a canvas of 512 x 512, brought to `size` x `size` by OpenCV's integer bilinear
// filter without smoothing (scale s = 512 / size; source f = (i + 0.5) s - 0.5; weights in 1/2048).
// Where an enlarged picture asks for pixels beyond the border, a column takes the last one alone,
// a row the last one twice, each share cut to a whole number: as OpenCV does.
//
// Drawn, in this order: the goal; body parts in the engine's order, filled lightly and outlined
// (the agent as a disc with a lighter one inside); the four walls; a smooth red line for each
// contact.
//
// What stands still is drawn and reduced once. A frame is a copy of that, with the windows around
// the block and the agent drawn and reduced anew: the same pixels, because each depends only on
// the canvas pixels below it.
//
// exact
class Painter {
 public:
  // size: 96, 224, 680, or 512 for the canvas itself
  explicit Painter(int size);
  static bool draws(i64 size) { return size == 96 || size == 224 || size == 512 || size == 680; }

  int size() const { return size_; }
  void set_look(const Look& look);
  const Look& look() const { return look_; }

  // frame [size, size, 3], contiguous
  void draw(std::span<const DrawnShape> shapes, std::span<const ContactMark> marks,
            View<u8, 3> frame);

 private:
  struct Tap {
    int from = 0;  // two pixels of the canvas, the same one twice at its border,
    int to = 0;
    int first = 0;  // and their weights of 2048
    int second = 0;
  };

  void draw_window(const Rect& window, std::span<const DrawnShape> shapes,
                   std::span<const ContactMark> marks);
  // output pixels that some canvas pixel of `canvas` has a weight in
  Rect output_rect(const Rect& canvas) const;
  // draws and reduces these output pixels
  void patch(const Rect& output, std::span<const DrawnShape> shapes,
             std::span<const ContactMark> marks, View<u8, 3> frame);
  void reduce(const Rect& output, View<u8, 3> frame) const;

  int size_;
  Look look_;
  std::vector<Tap> across_, down_;  // by output column and row
  Canvas canvas_;
  bool background_drawn_ = false;
  std::vector<u8> background_;  // [size, size, 3]: goal and walls
  std::vector<Rect> changed_;
};

// Marks a point of the canvas on a frame [size, size, 3]: the red cross of gym-pusht's large view,
// by OpenCV's rules for thick lines (8/96 of a side across, 1/96 thick). exact
void draw_cross(const Point& at, View<u8, 3> frame);

}  // namespace orrery::pusht
