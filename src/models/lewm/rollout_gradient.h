#pragma once

#include <vector>

#include "base/function_ref.h"
#include "models/lewm/rollout.h"
#include "models/lewm/rollout_trace.h"

namespace orrery::lewm {

// Candidates that go through together: `samples` of each of some consecutive environments.
struct RolloutPiece {
  i64 first_environment, environments;
  i64 first_sample, samples;
  i64 rows() const { return environments * samples; }
};

// The slopes of something by the last predictions of a piece; threads call it at the same time.
//
//   last     [piece.environments, piece.samples, D]
//   slopes   likewise, to fill; both contiguous
using LatentSlopes =
    FunctionRef<void(const RolloutPiece& piece, View<const float, 3> last, View<float, 3> slopes)>;

// A matrix of the model for the way back: dx = dy W.
struct BackwardWeights {
  PackedMatrix smooth, action_up, action_down, condition, input, output, head_up, head_down;
  struct Layer {
    PackedMatrix modulation, qkv, out, up, down;
  };
  std::vector<Layer> layers;
};

// How plans' outcomes change with their actions: rollout() once more, keeping what the way back
// needs, and then the way back through the window's passes, newest first. The context's latents
// are given and have no slope, statistics of BatchNorm are the running ones.
//
// The way back has the products of the way there once, transposed, so that a gradient costs two
// rollouts: 369 MFLOP a candidate at the published size with five blocks, and 2.3 MB of trace.
// Memory for as many candidates as workers take at once is taken when it is made, with a second
// copy of the predictor's weights.
//
// CPU and f32 only. One thread uses it at a time.
class RolloutGradient {
 public:
  // Context and model outlive it.
  RolloutGradient(Context& ctx, const Model& model, RolloutSizes sizes);

  // gradient += d (what `slopes` are of) / d actions
  //
  //   input      as of rollout(), with the history of the sizes
  //   gradient   [environments, samples, T, A], contiguous
  //
  // Allocates nothing. tolerant: a few float roundings a layer, 1e-5 of the largest number of a
  // candidate for the test model; steady
  void add(Context& ctx, const RolloutInput& input, LatentSlopes slopes, View<float, 4> gradient);

  const RolloutSizes& sizes() const { return sizes_; }

 private:
  const Model& model_;
  RolloutSizes sizes_;
  i64 chunk_ = 0;  // candidates of a piece at most
  BackwardWeights weights_;
  std::vector<RolloutPass> passes_;
  std::vector<RolloutTrace> workers_;
  Block memory_;
};

}  // namespace orrery::lewm
