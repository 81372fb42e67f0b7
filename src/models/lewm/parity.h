#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "device/context.h"
#include "models/lewm/weights.h"
#include "ops/precision.h"

namespace orrery::lewm {

// One tensor of the reference implementation against ours.
struct ParityStage {
  std::string name;
  double max_abs = 0;  // largest difference; infinite when the stage was not computed
  double noise = 0;  // the largest difference between the reference's own float32 and float64 runs
  double tolerance = 0;  // what is accepted: ten times the noise
  bool ok = false;

  double multiple() const;  // max_abs in units of noise
};

struct ParityReport {
  std::vector<ParityStage> stages;
  i64 parameters = 0;
  bool ok() const;
};

// Runs the model of a golden folder on the folder's inputs and compares every stage it records:
// encoder, action encoder, predictor, both rollout conventions, goal and costs. Shapes,
// configuration and tolerances are read from the files:
//
//   config.json, weights.* or recipe.json          the model
//   expect.safetensors                             inputs and stages; a name may end in
//   _<height>x<width> frames.json                                    pictures to use where
//   expect.safetensors holds none rollout_split.safetensors, rollout_history.safetensors
//   tolerance.json, tolerance_history.json         noise per tensor
//
// A folder without inputs or tolerances of its own uses those of the folder above it. Tolerances
// are those of f32: at other precisions the report tells how far a model is off.
ParityReport run_parity(Context& ctx, const std::filesystem::path& folder,
                        Precision precision = Precision::f32);

// The model of such a folder, and two of its pictures: the first, and the goal's.
struct GoldenScene {
  Weights weights;
  Tensor now, goal;  // [h, w, 3] bytes
};
GoldenScene golden_scene(const std::filesystem::path& folder);

}  // namespace orrery::lewm
