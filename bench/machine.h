#pragma once

#include <string>

namespace orrery::bench {

// Where and of what a figure was taken: without these a number means nothing.
struct Machine {
  std::string name;  // the processor as the system tells it, and its cores
  std::string compiler;
  std::string commit;  // as git described the sources when they were configured, or "unknown"
  std::string cpu_path;
  int threads = 0;
};

Machine this_machine(int threads);

}  // namespace orrery::bench
