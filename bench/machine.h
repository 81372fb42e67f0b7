#pragma once

#include <string>

#include "device/context.h"

namespace orrery::bench {

// Where and of what a figure was taken: without these a number means nothing.
struct Machine {
  std::string name;  // the processor as the system tells it, and its cores; or the CUDA device
  std::string compiler;
  std::string commit;    // as git described the sources when they were configured, or "unknown"
  std::string cpu_path;  // on a CUDA device its compute capability, "sm_90"
  int threads = 0;
};

Machine this_machine(const Context& ctx);

}  // namespace orrery::bench
