#pragma once

#include <filesystem>
#include <span>

#include "eval/evaluation.h"

namespace orrery {

// Writes one self-contained HTML page (no other files, no network) that shows what a model did: how
// many goals it reached beside the random control, a film of every episode (what the agent saw, the
// goal, the recorded frame nearest to what the model imagined), cost over the planner's iterations,
// plan times and latent surprise. Films are there when the evaluation kept them. The file appears
// whole or not at all.
void write_report(const std::filesystem::path& path, std::span<const Evaluation> evaluations);

}  // namespace orrery
