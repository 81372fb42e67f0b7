#pragma once

// A ring of places in shared memory that one producer fills and consumers empty, in turn: which
// place a step has, and which phase of its two barriers each side waits for. Plain functions,
// tested where there is no device.
//
// A barrier (tma.h) ends a phase when all have arrived; phases count 0, 1, 0, 1 .., and a wait with
// parity q is over when the last phase that ended has it. A barrier that is new behaves as if a
// phase 1 had just ended. `full` of a place ends its phase when what was asked for is there,
// `empty` when all consumers are done with it.

#include "base/host_device.h"
#include "base/types.h"

namespace orrery {

struct RingStep {
  int place = 0;
  u32 round = 0;  // how often the ring was gone round, modulo 2

  // for the next step, in a ring of `places`
  ORRERY_HD constexpr void advance(int places) {
    if (++place == places) {
      place = 0;
      round ^= 1;
    }
  }
  // a consumer reads when `full` has ended the phase of this round
  ORRERY_HD constexpr u32 full_parity() const { return round; }
  // the producer writes when `empty` has ended the phase of the round before: at first at once
  ORRERY_HD constexpr u32 empty_parity() const { return round ^ 1; }
};

}  // namespace orrery
