#pragma once

#include "device/context.h"

namespace orrery::bench {

// What this machine can do, measured with the threads and the instruction set that the figures use.
struct Limits {
  double flops_per_s = 0;  // f32 multiply-adds, two operations each, operands in registers
  double read_bytes_per_s = 0;
  double triad_bytes_per_s = 0;  // a = b + s c: two read, one written past the caches

  // of memory, the better of the two ways
  double bytes_per_s() const {
    return read_bytes_per_s > triad_bytes_per_s ? read_bytes_per_s : triad_bytes_per_s;
  }
};

// Takes about a third of a second: 50 ms of multiply-adds, then a few passes over 256 MB. The best
// of several tries each, because neighbours can only make it slower.
Limits measure_limits(Context& ctx);

// The higher of each: two measurements around the figures, so that neither a clock that warmed up
// nor a busy neighbour at one moment flatters the shares.
Limits higher(const Limits& a, const Limits& b);

}  // namespace orrery::bench
