#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/types.h"

namespace orrery {

// SHA-256 (FIPS 180-4) in lower-case hexadecimal, for the hashes recorded with golden vectors.
inline std::string sha256_of(std::span<const std::byte> message) {
  // the first 32 bits of the fractions of the cube roots of the first 64 primes, and of the square
  // roots of the first 8: found by integer roots of prime * 2^96 and prime * 2^64
  const auto root_bits = [](u64 prime, int power) {
    // the largest r with r^power <= prime * 2^(32 * power)
    u64 root = 0;
    for (u64 bit = u64{1} << 36; bit != 0; bit >>= 1) {
      const u64 next = root | bit;
      // next^power / 2^(32 (power - 1)) compared without loss: at most 37 * 3 bits
      unsigned __int128 product = next;
      for (int i = 1; i < power; ++i) product *= next;
      if (product <= static_cast<unsigned __int128>(prime) << (32 * power)) root = next;
    }
    return static_cast<u32>(root);
  };
  std::array<u32, 64> constants = {};
  std::array<u32, 8> state = {};
  std::size_t found = 0;
  for (u64 candidate = 2; found < constants.size(); ++candidate) {
    bool prime = true;
    for (u64 divisor = 2; divisor * divisor <= candidate; ++divisor) {
      prime = prime && candidate % divisor != 0;
    }
    if (!prime) continue;
    if (found < state.size()) state[found] = root_bits(candidate, 2);
    constants[found++] = root_bits(candidate, 3);
  }

  // padding: a one bit, zeros, and the length in bits, to a multiple of 64 bytes
  std::vector<std::byte> padded(message.begin(), message.end());
  padded.push_back(std::byte{0x80});
  while (padded.size() % 64 != 56) padded.push_back(std::byte{0});
  for (int shift = 56; shift >= 0; shift -= 8) {
    padded.push_back(static_cast<std::byte>(static_cast<u64>(message.size()) * 8 >> shift));
  }

  for (std::size_t block = 0; block < padded.size(); block += 64) {
    std::array<u32, 64> w = {};
    for (std::size_t i = 0; i < 64; ++i) {
      if (i < 16) {
        for (std::size_t b = 0; b < 4; ++b) {
          w[i] = w[i] << 8 | static_cast<u32>(padded[block + 4 * i + b]);
        }
        continue;
      }
      const u32 s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
      const u32 s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t i = 0; i < 64; ++i) {
      const u32 s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      const u32 t1 = h + s1 + ((e & f) ^ (~e & g)) + constants[i] + w[i];
      const u32 s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      const u32 t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = d + t1;
      d = c;
      c = b;
      b = a;
      a = t1 + t2;
    }
    const std::array<u32, 8> sum = {a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state[i] += sum[i];
  }

  std::string hex;
  for (const u32 word : state) {
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15u];
  }
  return hex;
}

}  // namespace orrery
