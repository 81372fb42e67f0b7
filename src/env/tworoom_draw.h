#pragma once

#include <array>

#include "tensor/view.h"

namespace orrery::tworoom {

inline constexpr i64 kImageSize = 224;
inline constexpr int kBorder = 14;       // the play field begins here
inline constexpr int kWallCentre = 112;  // of the wall between the rooms, on its axis
inline constexpr int kMaxDoors = 3;

using Colour = std::array<u8, 3>;

// Everything that the picture shows beside the dots.
struct Look {
  Colour background = {};
  Colour wall = {};
  Colour door = {};
  bool vertical = true;    // the wall runs along y and stands at x = 112
  int half_thickness = 5;  // the wall covers |coordinate - 112| <= half_thickness
  int doors = 1;
  std::array<int, kMaxDoors> door_position = {};  // centres along the wall
  std::array<int, kMaxDoors> door_size = {};      // half extents

  bool operator==(const Look&) const = default;
};

// frame [224, 224, 3], contiguous: background, wall with its doors, border lines.
// exact
void draw_room(const Look& look, View<u8, 3> frame);

// Blends a Gaussian dot over the frame:
//
//   dot(x, y) = exp(-((x - centre_x)^2 + (y - centre_y)^2) / (2 radius^2))
//   alpha = dot / (its largest value on the pixel grid)
//   channel = trunc(channel * (1 - alpha) + colour * alpha)
//
// all in float32. The centre lies inside the frame.
// exact; the frames of the published environment under PyTorch without MKL, whose exponential this
// is. With MKL the last bit of alpha differs here and there, which shows as one level in about ten
// pixels of a frame.
void blend_dot(View<u8, 3> frame, float centre_x, float centre_y, float radius,
               const Colour& colour);

}  // namespace orrery::tworoom
