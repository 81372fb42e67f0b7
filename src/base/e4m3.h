#pragma once

#include <bit>

#include "base/host_device.h"
#include "base/types.h"

namespace orrery {

// The eight-bit float E4M3 of Micikevicius et al., "FP8 formats for deep learning", 2022: sign,
// four bits of exponent (bias 7), three of fraction; no infinity, the largest number is 448, the
// smallest 2^-9. From float it rounds to nearest, ties to even, and saturates at 448; NaN stays
// NaN.
struct e4m3 {
  u8 bits;

  static constexpr float kLargest = 448.0f;

  e4m3() = default;
  ORRERY_HD explicit e4m3(float value) : bits(rounded(std::bit_cast<u32>(value))) {}
  ORRERY_HD operator float() const {  // NOLINT: implicit, for it is exact
    const u32 exponent = bits >> 3 & 15u, fraction = bits & 7u;
    if (exponent == 15 && fraction == 7) return std::bit_cast<float>(0x7fc00000u);
    const float size = exponent == 0
                           ? static_cast<float>(fraction) * 0x1p-9f
                           : std::bit_cast<float>((exponent + 120u) << 23 | fraction << 20);
    return (bits & 0x80u) != 0 ? -size : size;
  }

 private:
  ORRERY_HD static u8 rounded(u32 value) {
    const u32 sign = value >> 24 & 0x80u;
    const u32 size = value & 0x7fffffffu;
    constexpr u32 kSmallestNormal = 121u << 23;  // 2^-6
    if (size > 0x7f800000u) return static_cast<u8>(sign | 0x7fu);
    if (size < kSmallestNormal) {
      // multiples of 2^-9: adding 1.5 * 2^14 leaves just those in a float's last bits
      const float shifted = std::bit_cast<float>(size) + 0x1.8p14f;
      return static_cast<u8>(sign | (std::bit_cast<u32>(shifted) & 0xfu));
    }
    const u32 nearest = (size + 0x7ffffu + (size >> 20 & 1u)) >> 20;  // exponent and three bits
    const u32 code = nearest - (120u << 3);
    return static_cast<u8>(sign | (code > 0x7eu ? 0x7eu : code));
  }
};
static_assert(sizeof(e4m3) == 1);

}  // namespace orrery
