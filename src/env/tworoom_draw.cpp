#include "env/tworoom_draw.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace orrery::tworoom {

namespace {

constexpr int kSize = static_cast<int>(kImageSize);
constexpr int kLine = 4;  // width of the border lines

// Where alpha <= 2^-25, 1 - alpha rounds to 1 in float32 and colour * alpha stays below half a step
// of 255, so no channel changes; ln(2^-25) = -17.3287, the rest is a margin for float32 rounding.
constexpr double kFarthest = 17.34;

void fill(View<u8, 3> frame, int x0, int x1, int y0, int y1, const Colour& colour) {
  for (int y = y0; y < y1; ++y) {
    u8* pixel = &frame(y, x0, 0);
    for (int x = x0; x < x1; ++x) {
      for (const u8 channel : colour) *pixel++ = channel;
    }
  }
}

// One axis of the dot: for every pixel the float32 squared distance that the published code works
// with, the squared distance without its rounding, and the exponential of the latter.
struct Axis {
  std::array<float, kSize> squared;
  std::array<double, kSize> squared_exactly;
  std::array<double, kSize> gauss;
  int begin = 0;  // pixels outside [begin, end) cannot change
  int end = kSize;

  Axis(float centre, double denominator) {
    // the nearest pixel of the row is at most half a pixel away, which makes alpha that much larger
    // than the dot
    const double reach = std::sqrt(kFarthest * denominator + 0.5) + 1;
    begin = std::max(0, static_cast<int>(std::floor(static_cast<double>(centre) - reach)));
    end = std::min(kSize, static_cast<int>(std::ceil(static_cast<double>(centre) + reach)) + 1);
    for (int i = begin; i < end; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const float distance = static_cast<float>(i) - centre;
      squared[at] = distance * distance;
      squared_exactly[at] = static_cast<double>(distance) * static_cast<double>(distance);
      gauss[at] = std::exp(-squared_exactly[at] / denominator);
    }
  }
};

struct Dot {
  Axis x, y;
  float denominator;
  double inverse;

  // exp of the float32 exponent, to about 1e-15: the product of the two axes is the exponential of
  // the unrounded exponent, and the difference (1e-6 at most) is made up by its series. Rounded to
  // float32 that is the correctly rounded exponential, at the price of a product.
  float at(std::size_t column, std::size_t row) const {
    const float exponent = -(x.squared[column] + y.squared[row]) / denominator;
    const double unrounded = -(x.squared_exactly[column] + y.squared_exactly[row]) * inverse;
    const double rest = static_cast<double>(exponent) - unrounded;
    return static_cast<float>(x.gauss[column] * y.gauss[row] * (1.0 + rest + 0.5 * rest * rest));
  }
};

}  // namespace

void draw_room(const Look& look, View<u8, 3> frame) {
  fill(frame, 0, kSize, 0, kSize, look.background);

  // the wall, door pixels in the door's colour
  const int from = kWallCentre - look.half_thickness;
  const int to = kWallCentre + look.half_thickness + 1;
  for (int along = 0; along < kSize; ++along) {
    bool door = false;
    for (int d = 0; d < look.doors; ++d) {
      const auto i = static_cast<std::size_t>(d);
      door = door || std::abs(along - look.door_position[i]) <= look.door_size[i];
    }
    const Colour& colour = door ? look.door : look.wall;
    if (look.vertical) {
      fill(frame, from, to, along, along + 1, colour);
    } else {
      fill(frame, along, along + 1, from, to, colour);
    }
  }

  // border lines, across the whole picture and over everything
  for (const int begin : {kBorder - kLine, kSize - kBorder}) {
    fill(frame, begin, begin + kLine, 0, kSize, look.wall);
    fill(frame, 0, kSize, begin, begin + kLine, look.wall);
  }
}

void blend_dot(View<u8, 3> frame, float centre_x, float centre_y, float radius,
               const Colour& colour) {
  const double spread = std::max(1e-6, static_cast<double>(radius));
  const auto denominator = static_cast<float>(2.0 * spread * spread);
  const auto wide = static_cast<double>(denominator);
  const Dot dot = {Axis(centre_x, wide), Axis(centre_y, wide), denominator, 1.0 / wide};

  // the largest value is at one of the four pixels around the centre
  float largest = 0;
  const int left = std::clamp(static_cast<int>(centre_x), 0, kSize - 2);
  const int top = std::clamp(static_cast<int>(centre_y), 0, kSize - 2);
  for (const int y : {top, top + 1}) {
    for (const int x : {left, left + 1}) {
      largest = std::max(largest, dot.at(static_cast<std::size_t>(x), static_cast<std::size_t>(y)));
    }
  }

  std::array<float, 3 * kSize> colours;  // of a row, channel by channel, as the pixels lie
  for (std::size_t i = 0; i < colours.size(); ++i) colours[i] = colour[i % 3];

  std::array<float, kSize> alpha;
  std::array<float, 3 * kSize> alphas;
  for (int y = dot.y.begin; y < dot.y.end; ++y) {
    const auto row = static_cast<std::size_t>(y);
    // this row's chord of the circle that can change
    const double half_squared = kFarthest * wide + 0.5 - dot.y.squared_exactly[row];
    if (half_squared < 0) continue;
    const double half = std::sqrt(half_squared);
    const auto begin = static_cast<std::size_t>(
        std::max(dot.x.begin, static_cast<int>(static_cast<double>(centre_x) - half) - 1));
    const auto end = static_cast<std::size_t>(
        std::min(dot.x.end, static_cast<int>(static_cast<double>(centre_x) + half) + 2));

    for (std::size_t x = begin; x < end; ++x) alpha[x] = dot.at(x, row) / largest;
    for (std::size_t x = begin; x < end; ++x) {
      for (std::size_t c = 0; c < 3; ++c) alphas[3 * x + c] = alpha[x];
    }
    u8* pixels = &frame(y, 0, 0);
    for (std::size_t i = 3 * begin; i < 3 * end; ++i) {
      const float old = pixels[i];
      const float blended = old * (1.0f - alphas[i]) + colours[i] * alphas[i];
      pixels[i] = static_cast<u8>(static_cast<int>(blended));
    }
  }
}

}  // namespace orrery::tworoom
