#pragma once

#include <filesystem>
#include <span>

#include "eval/distance_curve.h"
#include "eval/evaluation.h"

namespace orrery {

// Writes one self-contained HTML page (no other files, no network) that shows what a model did: how
// many goals it reached beside the random control, a film of every episode (what the agent saw, the
// goal, the recorded frame nearest to what the model imagined), cost over the planner's iterations,
// plan times, latent surprise, success by the distance at the start, and the curve of latent
// against state distance, when it is given. Films are there when the evaluation kept them; failures
// come first. The file appears whole or not at all.
//
//   evaluations  usually one a seed: each has its row and films, headline and charts take all
//
// Films are reduced to 112 pixels a side, and further, down to 48, until all fit in 11 MiB. What
// an index of the gallery does not name is shown empty.
//
// Errors: frames of a film that differ in size or lack pixels; a file that cannot be written.
void write_report(const std::filesystem::path& path, std::span<const Evaluation> evaluations,
                  const DistanceCurve* curve = nullptr);

}  // namespace orrery
