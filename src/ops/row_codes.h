#pragma once

// How a row becomes codes and a scale: one source for quantize_rows on the CPU and on CUDA and for
// the matrix product's own rows, so that all give the same bits.

#include <cmath>
#include <limits>

#include "base/e4m3.h"
#include "base/host_device.h"
#include "base/types.h"

namespace orrery {

// max(so_far, |value|), and NaN from then on when either is
ORRERY_HD inline float larger_size(float so_far, float value) {
  const float size = fabsf(value);
  return size > so_far || size != size ? size : so_far;
}

template <typename Code>
struct CodeOf;
template <>
struct CodeOf<i8> {
  static constexpr float kLargest = 127.0f;
  // rounding may carry a product past 127 by a unit in the last place, never by a half
  ORRERY_HD static i8 from(float scaled) { return static_cast<i8>(rintf(scaled)); }
};
template <>
struct CodeOf<e4m3> {
  static constexpr float kLargest = e4m3::kLargest;
  ORRERY_HD static e4m3 from(float scaled) { return e4m3(scaled); }
};

// The scale of a row whose largest size is given, and its codes.
template <typename Code>
struct RowScale {
  float scale = 0.0f;
  float inverse = 0.0f;

  ORRERY_HD explicit RowScale(float largest) {
    constexpr float kLargestFloat = std::numeric_limits<float>::max();
    if (!(largest <= kLargestFloat)) {
      scale = std::numeric_limits<float>::quiet_NaN();
    } else if (largest > 0.0f && CodeOf<Code>::kLargest / largest <= kLargestFloat) {
      scale = largest / CodeOf<Code>::kLargest;
      inverse = CodeOf<Code>::kLargest / largest;
    }
    // else zeros, or numbers below 1e-36, which count as zeros
  }
  ORRERY_HD Code code(float value) const {
    return CodeOf<Code>::from(inverse == 0.0f ? 0.0f : value * inverse);
  }
};

}  // namespace orrery
