#include "device/peak_memory.h"

#include <sys/resource.h>

namespace orrery {

std::size_t peak_memory_bytes() {
  rusage usage = {};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

}  // namespace orrery
