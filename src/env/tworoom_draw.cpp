#include "env/tworoom_draw.h"

#include <algorithm>
#include <bit>
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

// a * b + c rounded once, or so close to it that no exponential below notices: the product of two
// floats is exact in double, and exponential() gives the same bits with a true fused multiply-add
// for every float32 in [-32, -1e-9] (all 292,982,689 of them were tried). Plain arithmetic, because
// not every CPU has the instruction.
inline float multiply_add(float a, float b, float c) {
  return static_cast<float>(static_cast<double>(a) * static_cast<double>(b) +
                            static_cast<double>(c));
}

// exp(x) for x in [-32, 0], not the nearest float32 but the one that the published frames were
// drawn with: the 1-ulp exponential of SLEEF (Shibata, Petrogalli, IEEE TPDS 2020), which is
// PyTorch's where that is built without MKL. White minus alpha plus red times alpha is 255 or just
// below it, so the last bit of alpha shows in the frame.
inline float exponential(float x) {
  // x = quotient * ln 2 + rest, ln 2 in two parts; adding 1.5 * 2^23 rounds to a whole number
  constexpr float kRounder = 12582912.0f;
  const float quotient = (x * 1.442695040888963407f + kRounder) - kRounder;
  float rest = multiply_add(quotient, -0.693145751953125f, x);
  rest = multiply_add(quotient, -1.428606765330187045e-06f, rest);

  // minimax polynomial of SLEEF's expf for (exp(rest) - 1 - rest) / rest^2
  float sum = 0.000198527617612853646278381f;
  sum = multiply_add(sum, rest, 0.00139304355252534151077271f);
  sum = multiply_add(sum, rest, 0.00833336077630519866943359f);
  sum = multiply_add(sum, rest, 0.0416664853692054748535156f);
  sum = multiply_add(sum, rest, 0.166666671633720397949219f);
  sum = multiply_add(sum, rest, 0.5f);
  const float power = 1.0f + multiply_add(rest * rest, sum, rest);

  // times 2^quotient; quotient >= -47 here, so the result is a normal number
  const i32 exponent = (static_cast<i32>(quotient) + 127) << 23;
  return power * std::bit_cast<float>(exponent);
}

// The squared float32 distance of every pixel of one axis from the centre, and the pixels that can
// change.
struct Axis {
  std::array<float, kSize> squared;
  int begin = 0;
  int end = kSize;

  Axis(float centre, double reach) {
    begin = std::max(0, static_cast<int>(static_cast<double>(centre) - reach));
    end = std::min(kSize, static_cast<int>(static_cast<double>(centre) + reach) + 2);
    for (int i = begin; i < end; ++i) {
      const float distance = static_cast<float>(i) - centre;
      squared[static_cast<std::size_t>(i)] = distance * distance;
    }
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
  // the nearest pixel is up to sqrt(0.5) away, which makes alpha that much larger than the dot
  const double reach_squared = kFarthest * static_cast<double>(denominator) + 0.5;
  const double reach = std::sqrt(reach_squared);
  const Axis columns(centre_x, reach);
  const Axis rows(centre_y, reach);
  const auto dot = [&](std::size_t x, std::size_t y) {
    return exponential(-(columns.squared[x] + rows.squared[y]) / denominator);
  };

  // the largest value is at one of the four pixels around the centre
  float largest = 0;
  const int left = std::clamp(static_cast<int>(centre_x), 0, kSize - 2);
  const int top = std::clamp(static_cast<int>(centre_y), 0, kSize - 2);
  for (const int y : {top, top + 1}) {
    for (const int x : {left, left + 1}) {
      largest = std::max(largest, dot(static_cast<std::size_t>(x), static_cast<std::size_t>(y)));
    }
  }

  std::array<float, 3 * kSize> colours;  // of a row, channel by channel, as the pixels lie
  for (std::size_t i = 0; i < colours.size(); ++i) colours[i] = colour[i % 3];

  std::array<float, kSize> alpha;
  std::array<float, 3 * kSize> alphas;
  for (int y = rows.begin; y < rows.end; ++y) {
    const auto row = static_cast<std::size_t>(y);
    // this row's chord of the circle that can change
    const double half_squared = reach_squared - static_cast<double>(rows.squared[row]);
    if (half_squared < 0) continue;
    const double half = std::sqrt(half_squared);
    const auto begin = static_cast<std::size_t>(
        std::max(columns.begin, static_cast<int>(static_cast<double>(centre_x) - half)));
    const auto end = static_cast<std::size_t>(
        std::min(columns.end, static_cast<int>(static_cast<double>(centre_x) + half) + 2));

    for (std::size_t x = begin; x < end; ++x) alpha[x] = dot(x, row) / largest;
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
