#pragma once

#include <functional>

#include "eval/starts.h"
#include "models/lewm/model.h"
#include "models/lewm/statistics.h"

namespace orrery {

// How a closed-loop evaluation is run, beyond its protocol.
struct EvaluateOptions {
  std::string environment;
  bool films = false;      // keep what the agent saw, and frames for what it imagined
  i64 film_side = 112;     // pixels
  i64 gallery = 1024;      // recorded frames that imagined latents may be shown as
  Noise* noise = nullptr;  // recorded draws instead of counter-based ones
  // called after every environment step of the lock-step run
  std::function<void(i64 step, i64 budget, i64 solved)> progress;
};

// Plays every case in lock-step: plan when a queue is empty, act, freeze who has finished. Then the
// random policy plays the same cases. Frames after the start are drawn by the environment and
// reduced to the recording's size as Pillow does it. The gallery is taken evenly from `episodes`.
// steady, but for the times
Evaluation evaluate(Context& ctx, const lewm::Model& model, const lewm::Statistics& statistics,
                    const Protocol& protocol, const Episodes& episodes,
                    const EvaluateOptions& options);

}  // namespace orrery
