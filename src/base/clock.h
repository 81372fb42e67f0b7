#pragma once

#include <chrono>

namespace orrery {

// Seconds on a clock that never goes back; the difference of two readings is a duration.
inline double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace orrery
