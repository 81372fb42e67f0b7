#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "ops/packed_image.h"

namespace orrery {

// Red, green and blue of a pixel of nv12 frames, in double, clamped but not rounded: the formulas
// of BT.601 and BT.709 as the standards state them, with chroma read at its place in the picture.
inline std::array<double, 3> nv12_pixel_ref(const PackedImages& images, i64 n, i64 y, i64 x) {
  const i64 rows = (images.height + 1) / 2, columns = (images.width + 1) / 2;
  const auto chroma_at = [&](i64 i, i64 j, i64 which) {
    i = std::clamp<i64>(i, 0, rows - 1);
    j = std::clamp<i64>(j, 0, columns - 1);
    return static_cast<double>(images.chroma.data[n * images.chroma.image_pitch +
                                                  i * images.chroma.pitch + 2 * j + which]);
  };
  // sample (i, j) lies at luma row 2 i + 1/2 and column 2 j
  const auto chroma = [&](i64 which) {
    if (images.chroma_filter == ChromaFilter::nearest) return chroma_at(y / 2, x / 2, which);
    const double row = (static_cast<double>(y) - 0.5) / 2, column = static_cast<double>(x) / 2;
    const double i = std::floor(row), j = std::floor(column);
    const double down = row - i, right = column - j;
    const auto at = [&](int di, int dj) {
      return chroma_at(static_cast<i64>(i) + di, static_cast<i64>(j) + dj, which);
    };
    return (1 - down) * ((1 - right) * at(0, 0) + right * at(0, 1)) +
           down * ((1 - right) * at(1, 0) + right * at(1, 1));
  };
  const double luma =
      images.pixels.data[n * images.pixels.image_pitch + y * images.pixels.pitch + x];
  const bool limited = images.range == YuvRange::limited;
  // y in 0 .. 1, cb and cr in -1/2 .. 1/2
  const double e_y = limited ? (luma - 16) / 219 : luma / 255;
  const double e_b = (chroma(0) - 128) / (limited ? 224 : 255);
  const double e_r = (chroma(1) - 128) / (limited ? 224 : 255);
  const double k_r = images.matrix == YuvMatrix::bt601 ? 0.299 : 0.2126;
  const double k_b = images.matrix == YuvMatrix::bt601 ? 0.114 : 0.0722;
  // e_y = k_r r + (1 - k_r - k_b) g + k_b b, e_b = (b - e_y) / (2 - 2 k_b), e_r likewise
  const double r = e_y + (2 - 2 * k_r) * e_r;
  const double b = e_y + (2 - 2 * k_b) * e_b;
  const double g = (e_y - k_r * r - k_b * b) / (1 - k_r - k_b);
  const auto byte = [](double value) { return std::clamp(255 * value, 0.0, 255.0); };
  return {byte(r), byte(g), byte(b)};
}

}  // namespace orrery
