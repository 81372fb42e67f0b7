#include "dist/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "base/error.h"
#include "dist/world.h"

namespace orrery::dist {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// The variables of launchers are what a test says, and gone after it.
class LaunchOf : public testing::Test {
 protected:
  LaunchOf() { clear(); }
  ~LaunchOf() override { clear(); }

  static void set(const std::map<std::string, std::string>& variables) {
    clear();
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  }

 private:
  static void clear() {
    for (const char* name :
         {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK",
          "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"}) {
      ::unsetenv(name);
    }
  }
};

TEST_F(LaunchOf, AProcessOnItsOwn) {
  const Launch launch = launch_of_this_process();
  EXPECT_EQ(launch.launcher, "");
  EXPECT_EQ(launch.size, 1);
  EXPECT_EQ(launch.rank, 0);
  EXPECT_EQ(join_world()->size(), 1);
}

TEST_F(LaunchOf, Mpirun) {
  set({{"OMPI_COMM_WORLD_SIZE", "6"},
       {"OMPI_COMM_WORLD_RANK", "4"},
       {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
       // mpirun in a Slurm job: its daemons are a step of one task a machine
       {"SLURM_STEP_NUM_TASKS", "2"},
       {"SLURM_PROCID", "1"}});
  const Launch launch = launch_of_this_process();
  EXPECT_EQ(launch.launcher, "mpirun");
  EXPECT_EQ(launch.size, 6);
  EXPECT_EQ(launch.rank, 4);
  EXPECT_EQ(launch.local_rank, 1);
}

TEST_F(LaunchOf, Srun) {
  set({{"SLURM_STEP_NUM_TASKS", "8"}, {"SLURM_PROCID", "7"}, {"SLURM_LOCALID", "3"}});
  const Launch launch = launch_of_this_process();
  EXPECT_EQ(launch.launcher, "srun");
  EXPECT_EQ(launch.size, 8);
  EXPECT_EQ(launch.rank, 7);
  EXPECT_EQ(launch.local_rank, 3);
}

TEST_F(LaunchOf, ABatchScriptIsNoStep) {
  set({{"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}, {"SLURM_LOCALID", "0"}});
  EXPECT_EQ(launch_of_this_process().size, 1);
}

TEST_F(LaunchOf, NumbersThatAreNoneAreLeftOut) {
  set({{"OMPI_COMM_WORLD_SIZE", "many"}, {"OMPI_COMM_WORLD_RANK", "1"}});
  EXPECT_EQ(launch_of_this_process().size, 1);
  EXPECT_EQ(launch_of_this_process().rank, 0);
}

TEST_F(LaunchOf, ABuildWithoutMpiSaysSo) {
  if (mpi_build() != "no") GTEST_SKIP() << "this build has MPI";
  set({{"OMPI_COMM_WORLD_SIZE", "2"}});
  EXPECT_THAT([] { join_world(); }, ThrowsMessage<Error>(HasSubstr("this build has no MPI")));
}

}  // namespace
}  // namespace orrery::dist
