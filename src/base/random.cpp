#include "base/random.h"

namespace orrery {

float uniform(u64 seed, u64 stream, u64 index) {
  return uniform_from_bits(philox(seed, stream, index / 4)[index % 4]);
}

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
