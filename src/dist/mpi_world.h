#pragma once

#include <memory>
#include <string>

#include "dist/launch.h"
#include "dist/world.h"

namespace orrery::dist {

// What the worlds have in common.
std::string this_host();
void check_message(const World& world, int to, const std::string& bytes);

#if ORRERY_MPI
// Joins the processes of MPI_COMM_WORLD: MPI is initialised here, once in a process, and ended by
// leave(true). After leave(false), or without leave, MPI is not ended, for that waits for ranks
// that are gone; the process can still end in the ordinary way.
//
// Errors: MPI knows of another number of processes than the launcher started.
std::unique_ptr<World> mpi_world(const Launch& launch);
#endif

}  // namespace orrery::dist
