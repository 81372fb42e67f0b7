#pragma once

#include <vector>

#include "data/statistics.h"
#include "eval/encoded.h"

namespace orrery {

// How far imagination strays from what came, by the number of blocks imagined.
struct PredictionErrors {
  struct Horizon {
    i64 blocks = 0;
    double error = 0;      // mean over windows of |imagined - seen|^2, sum over a latent's numbers
    double unchanged = 0;  // the same of who says that nothing changes: |last context - seen|^2
  };
  i64 history = 0;      // context frames
  i64 windows = 0;      // that the means are over
  double variance = 0;  // of the latents: mean of |z - mean z|^2; who always says the mean errs so
  std::vector<Horizon> horizons;

  // shares of the variance: 1 is no better than the mean
  double relative(const Horizon& horizon) const { return horizon.error / variance; }
  double relative_unchanged(const Horizon& horizon) const { return horizon.unchanged / variance; }
};

struct PredictionChoice {
  i64 horizons = 5;  // blocks; fewer when no episode is long enough
  i64 history = 0;   // context frames; 0: as many as the predictor's window
};

// Open-loop rollouts: from every `history` encoded frames in a row, along the recorded actions, the
// predictor sees its own predictions (and at most its window, as in rollout.h).
//
//   frames       stride apart = a block of actions
//   actions      column `action`, z-scored by `scale`; NaN is 0
//
// Without a single window long enough for one block, horizons are empty. tolerant; steady
PredictionErrors prediction_errors(Context& ctx, const lewm::Model& model, const Episodes& episodes,
                                   const EncodedFrames& frames, const ZScore& scale,
                                   const PredictionChoice& choice = {});

}  // namespace orrery
