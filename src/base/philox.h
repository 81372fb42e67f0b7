#pragma once

#include <array>
#include <cmath>

#include "base/host_device.h"
#include "base/types.h"

// The arithmetic of counter-based random numbers, for the host and for kernels. What it is for, and
// how numbers are named by seed, stream and index: base/random.h.
namespace orrery {

// Philox 4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
// 2011. exact
ORRERY_HD inline std::array<u32, 4> philox(u64 seed, u64 stream, u64 index) {
  // multipliers and Weyl constants of the paper
  constexpr u64 kMultiply0 = 0xD2511F53u;
  constexpr u64 kMultiply1 = 0xCD9E8D57u;
  constexpr u32 kWeyl0 = 0x9E3779B9u;
  constexpr u32 kWeyl1 = 0xBB67AE85u;

  std::array<u32, 4> counter = {static_cast<u32>(index), static_cast<u32>(index >> 32),
                                static_cast<u32>(stream), static_cast<u32>(stream >> 32)};
  u32 key0 = static_cast<u32>(seed);
  u32 key1 = static_cast<u32>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const u64 product0 = kMultiply0 * counter[0];
    const u64 product1 = kMultiply1 * counter[2];
    counter = {static_cast<u32>(product1 >> 32) ^ counter[1] ^ key0, static_cast<u32>(product1),
               static_cast<u32>(product0 >> 32) ^ counter[3] ^ key1, static_cast<u32>(product0)};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return counter;
}

// Combines numbers into one stream or seed (SplitMix64 of the sum). exact
ORRERY_HD inline u64 mix(u64 a, u64 b) {
  u64 x = a + 0x9E3779B97F4A7C15ull * (b + 1);
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

// u in [0, 1) with 24 bits. exact
ORRERY_HD inline float uniform_from_bits(u32 bits) {
  return static_cast<float>(bits >> 8) * 0x1p-24f;
}

// Normals 2 * pair and 2 * pair + 1 of a stream: Box-Muller of two 53-bit uniforms, the first in
// (0, 1] so that its logarithm is finite; computed in double and rounded once. Between two
// libraries of log, sqrt, sin and cos a last bit may differ, about once in 10^8 numbers. steady
ORRERY_HD inline std::array<float, 2> normal_pair(u64 seed, u64 stream, u64 pair) {
  constexpr double kPi = 3.14159265358979323846;
  const auto bits = philox(seed, stream, pair);
  const u64 a = ((u64{bits[0]} << 32) | bits[1]) >> 11;
  const u64 b = ((u64{bits[2]} << 32) | bits[3]) >> 11;
  const double u = static_cast<double>(a + 1) * 0x1p-53;
  const double angle = 2.0 * kPi * (static_cast<double>(b) * 0x1p-53);
  const double radius = std::sqrt(-2.0 * std::log(u));
  return {static_cast<float>(radius * std::cos(angle)),
          static_cast<float>(radius * std::sin(angle))};
}

}  // namespace orrery
