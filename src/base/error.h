#pragma once

#include <stdexcept>
#include <string>

#include "base/text.h"

namespace orrery {

// The one exception of the library. Thrown at borders only (files, configuration, operation entry),
// with one sentence that says what came, what was needed and where.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(text(parts...));
}

template <typename... Parts>
void check(bool holds, const Parts&... parts) {
  if (!holds) [[unlikely]] {
    fail(parts...);
  }
}

}  // namespace orrery

// For our own mistakes, in debug builds; never for input. Device code cannot throw and leaves it
// out.
#if defined(NDEBUG) || defined(__CUDA_ARCH__)
#define ORRERY_ASSERT(condition) static_cast<void>(0)
#else
#define ORRERY_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::orrery::fail(__FILE__, ":", __LINE__, ": " #condition))
#endif
