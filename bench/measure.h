#pragma once

#include "base/function_ref.h"
#include "base/types.h"

namespace orrery::bench {

struct Timing {
  double median_ms = 0;
  double min_ms = 0;
  i64 runs = 0;
};

// Times `run`, which was called before and is warm. Runs shorter than 0.2 ms are timed several at a
// time, so that the clock (about 30 ns) and the start of the thread team do not matter; what is
// returned is per call.
//
// runs: exactly so many; 0: at least 15 and at least 0.2 s, but no more than begun within 1.5 s
// (and three)
Timing measure(FunctionRef<void()> run, i64 runs);

}  // namespace orrery::bench
