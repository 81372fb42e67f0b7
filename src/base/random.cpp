#include "base/random.h"

#include <cmath>
#include <numbers>

namespace orrery {

std::array<u32, 4> philox(u64 seed, u64 stream, u64 index) {
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

u64 mix(u64 a, u64 b) {
  u64 x = a + 0x9E3779B97F4A7C15ull * (b + 1);
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

float uniform_from_bits(u32 bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

float uniform(u64 seed, u64 stream, u64 index) {
  return uniform_from_bits(philox(seed, stream, index / 4)[index % 4]);
}

namespace {

// two independent normals from 128 random bits; 53-bit uniforms, the first in (0, 1] so that its
// logarithm is finite
std::array<float, 2> normal_pair(u64 seed, u64 stream, u64 pair) {
  const auto bits = philox(seed, stream, pair);
  const u64 a = ((u64{bits[0]} << 32) | bits[1]) >> 11;
  const u64 b = ((u64{bits[2]} << 32) | bits[3]) >> 11;
  const double u = static_cast<double>(a + 1) * 0x1p-53;
  const double angle = 2.0 * std::numbers::pi * (static_cast<double>(b) * 0x1p-53);
  const double radius = std::sqrt(-2.0 * std::log(u));
  return {static_cast<float>(radius * std::cos(angle)),
          static_cast<float>(radius * std::sin(angle))};
}

}  // namespace

float normal(u64 seed, u64 stream, u64 index) {
  return normal_pair(seed, stream, index / 2)[index % 2];
}

void fill_normal(u64 seed, u64 stream, u64 first_index, i64 count, float* out) {
  i64 done = 0;
  while (done < count) {
    const u64 index = first_index + static_cast<u64>(done);
    const auto pair = normal_pair(seed, stream, index / 2);
    for (u64 half = index % 2; half < 2 && done < count; ++half) out[done++] = pair[half];
  }
}

u64 Random::bits64() {
  const auto bits = philox(seed_, stream_, next_++);
  return (u64{bits[0]} << 32) | bits[1];
}

double Random::uniform_double() { return static_cast<double>(bits64() >> 11) * 0x1p-53; }

u64 Random::below(u64 bound) {
  // rejection: the largest multiple of bound that fits 64 bits
  const u64 limit = ~u64{0} - (~u64{0} % bound);
  for (;;) {
    const u64 draw = bits64();
    if (draw < limit) return draw % bound;
  }
}

u64 permuted_index(u64 key, u64 count, u64 index) {
  if (count < 2) return index;
  // a balanced Feistel network over 2 * half bits, the smallest even width that holds count
  int half = 1;
  while ((u64{1} << (2 * half)) < count) ++half;
  const u64 mask = (u64{1} << half) - 1;
  // values that fall outside are sent through again: the network is a bijection, so this ends
  // inside
  u64 value = index;
  do {
    u64 left = value >> half;
    u64 right = value & mask;
    for (u64 round = 0; round < 6; ++round) {
      const u64 next = left ^ (mix(mix(key, round), right) & mask);
      left = right;
      right = next;
    }
    value = (left << half) | right;
  } while (value >= count);
  return value;
}

}  // namespace orrery
