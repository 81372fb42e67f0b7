#pragma once

#include "base/philox.h"

namespace orrery {

// Counter-based random numbers: a value is a pure function of (seed, stream, index), so any backend
// and any number of threads draws the same ones and nothing needs saving but the seed. The
// generator itself, philox(seed, stream, index), and mix(a, b) are in base/philox.h.

// Named streams keep uses of one seed apart.
enum class Stream : u64 {
  planner_noise = 1,
  data_order = 2,
  weights = 3,
  sigreg_directions = 4,
  dropout = 5,
  environment = 6,
  policy = 7,
  bootstrap = 8,
};

// Draw number `index` of the stream: uniform in [0, 1), and standard normal by Box-Muller computed
// in double and rounded once (steady: the C library's log, sqrt, sin, cos). Two normals share one
// Philox call.
float uniform(u64 seed, u64 stream, u64 index);
float normal(u64 seed, u64 stream, u64 index);
void fill_normal(u64 seed, u64 stream, u64 first_index, i64 count, float* out);

// A running view of one stream, for code that draws an unknown number of values.
class Random {
 public:
  Random(u64 seed, u64 stream) : seed_(seed), stream_(stream) {}
  u32 bits() { return philox(seed_, stream_, next_++)[0]; }
  u64 bits64();
  // [0, 1) with 24 bits, and [0, 1) with 53
  float uniform() { return uniform_from_bits(bits()); }
  double uniform_double();
  float uniform(float low, float high) { return low + (high - low) * uniform(); }
  float normal() { return orrery::normal(seed_, stream_ ^ 0x8000000000000000ull, next_++); }
  // uniform in [0, bound), without bias; bound > 0
  u64 below(u64 bound);

 private:
  u64 seed_;
  u64 stream_;
  u64 next_ = 0;
};

// A bijection of [0, count) drawn by `key`, computed on the fly (Feistel network with cycle
// walking): a shuffle of millions of windows without an index array. exact
u64 permuted_index(u64 key, u64 count, u64 index);

}  // namespace orrery
