#include "dist/launch.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace orrery::dist {

namespace {

// a number of the environment that is at least `least`, else `otherwise`
int number(const char* name, int least, int otherwise) {
  const char* value = std::getenv(name);
  if (value == nullptr) return otherwise;
  const std::string_view digits = value;
  int result = 0;
  const char* end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data(), end, result);
  return read.ec == std::errc() && read.ptr == end && result >= least ? result : otherwise;
}

}  // namespace

Launch launch_of_this_process() {
  Launch launch;
  if (const int size = number("OMPI_COMM_WORLD_SIZE", 1, 0); size > 0) {
    launch.launcher = "mpirun";
    launch.size = size;
    launch.rank = number("OMPI_COMM_WORLD_RANK", 0, 0);
    launch.local_rank = number("OMPI_COMM_WORLD_LOCAL_RANK", 0, 0);
  } else if (const int tasks = number("SLURM_STEP_NUM_TASKS", 1, 0); tasks > 1) {
    // a batch script itself is no step: what it runs without srun runs once
    launch.launcher = "srun";
    launch.size = tasks;
    launch.rank = number("SLURM_PROCID", 0, 0);
    launch.local_rank = number("SLURM_LOCALID", 0, 0);
  }
  return launch;
}

}  // namespace orrery::dist
