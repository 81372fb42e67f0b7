#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/image.h"

namespace orrery {

// a value on the scale of bytes, of channel c, as torchvision converts and normalises it; every
// step is rounded to f32
inline float normalized_value(float value, i64 c) {
  const float scaled = value * (1.0f / 255.0f);
  const float centered = scaled - kImageMean[c];
  return centered / kImageStd[c];
}
inline float normalized_byte(u8 byte, i64 c) {
  return normalized_value(static_cast<float>(byte), c);
}

inline void normalize_images_ref(View<const u8, 4> bytes, View<float, 4> out) {
  for (i64 n = 0; n < bytes.size(0); ++n) {
    for (i64 y = 0; y < bytes.size(1); ++y) {
      for (i64 x = 0; x < bytes.size(2); ++x) {
        for (i64 c = 0; c < 3; ++c) out(n, c, y, x) = normalized_byte(bytes(n, y, x, c), c);
      }
    }
  }
}

inline void patch_rows_ref(View<const float, 4> in, i64 patch, View<float, 3> out) {
  const i64 grid_w = in.size(3) / patch;
  for (i64 n = 0; n < in.size(0); ++n) {
    for (i64 p = 0; p < out.size(1); ++p) {
      for (i64 c = 0; c < in.size(1); ++c) {
        for (i64 y = 0; y < patch; ++y) {
          for (i64 x = 0; x < patch; ++x) {
            out(n, p, (c * patch + y) * patch + x) =
                in(n, c, p / grid_w * patch + y, p % grid_w * patch + x);
          }
        }
      }
    }
  }
}

// Weights of the triangle filter for output i: of inputs [first, first + size), summing to 1, in
// double.
inline std::vector<double> triangle_taps_ref(i64 in, i64 out, i64 i, i64& first) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double support = std::max(scale, 1.0);
  const double center = (static_cast<double>(i) + 0.5) * scale;
  first = std::max<i64>(static_cast<i64>(std::floor(center - support + 0.5)), 0);
  const i64 end = std::min<i64>(static_cast<i64>(std::floor(center + support + 0.5)), in);
  std::vector<double> taps;
  double sum = 0;
  for (i64 j = first; j < end; ++j) {
    taps.push_back(std::max(0.0, 1.0 - std::abs(static_cast<double>(j) - center + 0.5) / support));
    sum += taps.back();
  }
  for (double& tap : taps) tap /= sum;
  return taps;
}

inline void resize_antialias_ref(View<const float, 4> in, View<float, 4> out) {
  for (i64 n = 0; n < out.size(0); ++n) {
    for (i64 c = 0; c < out.size(1); ++c) {
      for (i64 y = 0; y < out.size(2); ++y) {
        i64 top = 0;
        const auto rows = triangle_taps_ref(in.size(2), out.size(2), y, top);
        for (i64 x = 0; x < out.size(3); ++x) {
          i64 left = 0;
          const auto cols = triangle_taps_ref(in.size(3), out.size(3), x, left);
          double sum = 0;
          for (std::size_t i = 0; i < rows.size(); ++i) {
            for (std::size_t j = 0; j < cols.size(); ++j) {
              sum += rows[i] * cols[j] *
                     static_cast<double>(
                         in(n, c, top + static_cast<i64>(i), left + static_cast<i64>(j)));
            }
          }
          out(n, c, y, x) = static_cast<float>(sum);
        }
      }
    }
  }
}

// weight of an input at distance t from the output: Keys' cubic with a = -0.75
inline double cubic_weight_ref(double t) {
  constexpr double a = -0.75;
  t = std::abs(t);
  if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  if (t < 2) return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a;
  return 0;
}

inline void bicubic_grid_ref(View<const float, 3> in, View<float, 3> out) {
  for (i64 y = 0; y < out.size(0); ++y) {
    const double cy = (static_cast<double>(y) + 0.5) * static_cast<double>(in.size(0)) /
                          static_cast<double>(out.size(0)) -
                      0.5;
    for (i64 x = 0; x < out.size(1); ++x) {
      const double cx = (static_cast<double>(x) + 0.5) * static_cast<double>(in.size(1)) /
                            static_cast<double>(out.size(1)) -
                        0.5;
      for (i64 d = 0; d < out.size(2); ++d) {
        double sum = 0;
        const i64 iy = static_cast<i64>(std::floor(cy)), ix = static_cast<i64>(std::floor(cx));
        for (i64 j = iy - 1; j <= iy + 2; ++j) {
          for (i64 i = ix - 1; i <= ix + 2; ++i) {
            sum += cubic_weight_ref(cy - static_cast<double>(j)) *
                   cubic_weight_ref(cx - static_cast<double>(i)) *
                   static_cast<double>(in(std::clamp<i64>(j, 0, in.size(0) - 1),
                                          std::clamp<i64>(i, 0, in.size(1) - 1), d));
          }
        }
        out(y, x, d) = static_cast<float>(sum);
      }
    }
  }
}

}  // namespace orrery
