#pragma once

#include <string>

namespace orrery::dist {

// What a launcher told this process about itself, through the environment: known before, and
// without, MPI.
struct Launch {
  std::string launcher;  // "mpirun", "srun"; empty: started on its own
  int rank = 0;
  int size = 1;
  int local_rank = 0;  // among the ranks of this machine
};

// Reads OMPI_COMM_WORLD_* (Open MPI's mpirun) or, in a Slurm step of several tasks, SLURM_*.
Launch launch_of_this_process();

// Whether this build can work over ranks, and with what: "Open MPI 4.1.4", or "no".
std::string mpi_build();

}  // namespace orrery::dist
