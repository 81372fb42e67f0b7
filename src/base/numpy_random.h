#pragma once

#include <array>
#include <random>
#include <vector>

#include "base/types.h"

namespace orrery {

// numpy.random.default_rng(seed), draw for draw: published protocols name their start rows by it,
// so the same rows can only be chosen with the same generator. Everything new in this project uses
// base/random.h.
//
// SeedSequence: NumPy's entropy mixer after M. O'Neill's randutils; PCG64: M. O'Neill, "PCG: a
// family of simple fast space-efficient statistically good algorithms for random number
// generation", 2014 (XSL-RR 128/64); bounded integers: D. Lemire, "Fast random integer generation
// in an interval", ACM TOMACS 2019.
//
// exact: the values of NumPy 1.17 and later
class NumpyRandom {
 public:
  explicit NumpyRandom(u64 seed);

  // the generator's own output, and half of it: low half first, the high half is kept for the next
  // call
  u64 bits64();
  u32 bits32();

  // Generator.random() and Generator.uniform(low, high): 53 bits in [0, 1), one draw each
  double random();
  double uniform(double low, double high) { return low + (high - low) * random(); }

  // Generator.integers(low, high): uniform in [low, high), int64. Error when high <= low.
  i64 integers(i64 low, i64 high);

  // Generator.choice(count, chosen, replace=False): different numbers of [0, count) in the order
  // NumPy returns them. Error when chosen is negative or more than count.
  std::vector<i64> choice(i64 count, i64 chosen);

 private:
  // uniform in [0, last]
  u64 up_to(u64 last);
  void step();

  // 128-bit numbers, low word first
  std::array<u64, 2> state_ = {};
  std::array<u64, 2> increment_ = {};
  bool has_half_ = false;
  u32 half_ = 0;
};

// numpy.random.RandomState(seed), as far as published resets use it: MT19937 with masked rejection
// for integers and the polar method for normals.
//
// exact: the values of NumPy 1.x and 2.x, whose old generator is frozen
class OldNumpyRandom {
 public:
  explicit OldNumpyRandom(u64 seed) : words_(static_cast<u32>(seed)) {}

  // randint(low, high): in [low, high). Error when high <= low.
  u32 integer(u32 low, u32 high);
  // randn(): of two normals that come at once, the first that NumPy returns
  double normal();

 private:
  u32 word() { return static_cast<u32>(words_()); }
  double real();

  std::mt19937 words_;
};

}  // namespace orrery
