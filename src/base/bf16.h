#pragma once

#include <bit>

#include "base/host_device.h"
#include "base/types.h"

namespace orrery {

// bfloat16: the upper half of a float, so 8 bits of exponent and 8 significant bits. For storage
// and as the factor of products; sums are taken in float. From float it rounds to nearest, ties to
// even; NaN stays NaN and keeps its sign; to float it is exact.
struct bf16 {
  u16 bits;

  bf16() = default;
  ORRERY_HD explicit bf16(float value) : bits(rounded(std::bit_cast<u32>(value))) {}
  ORRERY_HD operator float() const {  // NOLINT: implicit, for it is exact
    return std::bit_cast<float>(static_cast<u32>(bits) << 16);
  }

 private:
  ORRERY_HD static constexpr u16 rounded(u32 value) {
    // rounding may not carry a NaN into infinity
    if ((value & 0x7fffffffu) > 0x7f800000u) return static_cast<u16>(value >> 16 | 0x40u);
    return static_cast<u16>((value + 0x7fffu + (value >> 16 & 1u)) >> 16);
  }
};
static_assert(sizeof(bf16) == 2);

}  // namespace orrery
