#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "base/text.h"
#include "device/context.h"
#include "dist/device_sums.h"

namespace orrery::dist {

// For tests: devices for so many ranks. The emulation has as many as are asked for.
class Devices {
 public:
  explicit Devices([[maybe_unused]] int count) {
#if ORRERY_CUDA_EMULATED
    ::setenv("ORRERY_EMULATED_DEVICES", std::to_string(count).c_str(), 1);
#endif
  }
  ~Devices() {
#if ORRERY_CUDA_EMULATED
    ::unsetenv("ORRERY_EMULATED_DEVICES");
#endif
  }
  Devices(const Devices&) = delete;
  Devices& operator=(const Devices&) = delete;
  static int count() { return static_cast<int>(cuda_facts().size()); }
};

}  // namespace orrery::dist

// A device at all; and, for the rest of the scope, NCCL with a device for each of so many ranks.
#define ORRERY_NEEDS_A_DEVICE                                      \
  if (std::string reason; ::orrery::cuda_facts(&reason).empty()) { \
    GTEST_SKIP() << "needs a CUDA device: " << reason;             \
  }                                                                \
  static_assert(true)
#define ORRERY_NEEDS_NCCL(ranks)                                              \
  ORRERY_NEEDS_A_DEVICE;                                                      \
  const ::orrery::dist::Devices devices(ranks);                               \
  if (::orrery::dist::nccl_build().rfind("no", 0) == 0) {                     \
    GTEST_SKIP() << "needs NCCL: " << ::orrery::dist::nccl_build();           \
  }                                                                           \
  if (devices.count() < (ranks)) {                                            \
    GTEST_SKIP() << "needs " << (ranks) << " CUDA devices, one for each rank" \
                 << " of NCCL; this machine has " << devices.count();         \
  }                                                                           \
  static_assert(true)
