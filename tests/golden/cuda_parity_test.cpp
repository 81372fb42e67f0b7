#include <gtest/gtest.h>

#include "models/lewm/parity.h"
#include "ops/test_support.h"
#include "tests/golden/shared.h"

namespace orrery {
namespace {

// The tiny models only: under emulation the full one would take an hour; a device runs it by
// `orrery parity --device cuda`.
TEST(CudaParity, EveryStageOfTheTinyModelsIsWithinTheReferencesNoise) {
  ORRERY_NEEDS_CUDA;
  const std::filesystem::path tiny = shared_folder() / "golden" / "lewm" / "tiny";
  ORRERY_NEEDS_SHARED(tiny);
  Context ctx(test::on_cuda());
  for (const auto& folder : {tiny, tiny / "b", tiny / "c"}) {
    const lewm::ParityReport report = lewm::run_parity(ctx, folder);
    EXPECT_FALSE(report.stages.empty()) << folder;
    for (const lewm::ParityStage& stage : report.stages) {
      EXPECT_TRUE(stage.ok) << folder << ": " << stage.name << " is off by " << stage.max_abs
                            << ", accepted " << stage.tolerance;
    }
  }
}

}  // namespace
}  // namespace orrery
