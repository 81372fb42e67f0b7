#include "ops/cpu_path.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "ops/test_support.h"

namespace orrery {
namespace {

// TEST_ON_EVERY_PATH itself asserts that the path asked for is the one that runs
TEST_ON_EVERY_PATH(CpuPath, RunsWhatWasAskedFor) {
  bool listed = false;
  for (const char* path : cpu_paths()) listed = listed || std::string(path) == cpu_path();
  EXPECT_TRUE(listed) << cpu_path();
}

TEST(CpuPath, StartsWithTheBestOrTheOneAskedFor) {
  const char* asked = std::getenv("ORRERY_CPU");
  use_cpu_path(nullptr);
  EXPECT_STREQ(cpu_path(), asked != nullptr ? asked : cpu_paths().front());
}

TEST(CpuPath, RefusesUnknownNames) {
  const std::string before = cpu_path();
  EXPECT_THROW(use_cpu_path("AVX9000"), Error);
  EXPECT_EQ(cpu_path(), before);
}

}  // namespace
}  // namespace orrery
