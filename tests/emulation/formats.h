#pragma once

// The number formats of matrix products as values. Of each file its own copy: some are instrumented
// and some are not.

#include <cstdint>
#include <cstring>

namespace emulation {

namespace {

[[maybe_unused]] inline float bf16_value(std::uint32_t bits) {
  float value;
  bits <<= 16;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

[[maybe_unused]] inline float tf32_value(std::uint32_t bits) {
  float value;
  bits &= 0xffffe000u;  // the hardware looks at the upper 19 bits
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

[[maybe_unused]] inline float e4m3_value(std::uint32_t bits) {
  const std::uint32_t exponent = bits >> 3 & 15u, mantissa = bits & 7u;
  if (exponent == 15 && mantissa == 7) return __builtin_nanf("");
  float size = static_cast<float>(mantissa) * 0x1p-9f;
  if (exponent > 0) {
    // exponents count from 7 here, from 127 there
    const std::uint32_t same = (exponent + 120) << 23 | mantissa << 20;
    std::memcpy(&size, &same, sizeof size);
  }
  return (bits & 0x80u) != 0 ? -size : size;
}

[[maybe_unused]] inline std::int32_t s8_value(std::uint32_t bits) {
  return static_cast<std::int32_t>(static_cast<std::int8_t>(bits));
}

}  // namespace

}  // namespace emulation
