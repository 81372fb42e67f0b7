#pragma once

#include <vector>

#include "models/lewm/config.h"
#include "models/lewm/rollout.h"
#include "tensor/arena.h"

namespace orrery::lewm {

// Frames that one prediction takes through the predictor: of the window that starts at `left`
// those from `first` to `newest`; keys and values of [left, first) are there from the passes
// before.
struct RolloutPass {
  i64 left, first, newest;
  i64 frames() const { return newest - first + 1; }
  i64 keys() const { return newest - left + 1; }
};

// the passes of rollout(), from the first prediction to the last
std::vector<RolloutPass> passes_of(i64 window, i64 history, i64 blocks);

// what a norm keeps of each row
struct NormTrace {
  View<float, 1> mean, rstd;
};

// One layer in one pass. F frames came in; the last layer goes on with the newest alone, so of
// what comes after the keys there are Q frames.
struct LayerTrace {
  View<float, 2> x, plain, modulated;  // [F n, D]
  NormTrace bare, affine;
  View<float, 2> attended;        // [Q n, inner]
  View<float, 3> log_sum;         // [n, heads, Q]
  View<float, 2> branch, middle;  // [Q n, D]
  View<float, 2> mlp_plain, mlp_modulated, mlp_branch;
  NormTrace mlp_bare, mlp_affine;
  View<float, 2> wide;  // [Q n, mlp]
};

struct PassTrace {
  std::vector<LayerTrace> layers;
  View<float, 2> end;  // [n, D]
  NormTrace end_norm;
  View<float, 2> head_wide, head_normed;  // [n, hidden]
  NormTrace head_norm;
};

// What one worker keeps of a piece of n candidates between the way there and the way back, and its
// scratch. Rows are time first.
struct RolloutTrace {
  // kept on the way there; rows time first, n candidates each
  View<float, 3> actions, latents;         // [blocks, n, A], [frames, n, latent]
  View<float, 2> smoothed;                 // [blocks n, .]
  View<float, 2> action_wide, condition;   // [blocks n, .] before their SiLU
  std::vector<View<float, 3>> modulation;  // per layer [blocks, n, 6 D]
  // Per layer, [frames of all windows with one left edge, n, 3 inner], and where each window's
  // begin: windows that grow share theirs.
  std::vector<View<float, 3>> qkv;
  std::vector<i64> window_begins;  // of a pass, in frames of qkv
  std::vector<PassTrace> passes;

  // scratch
  View<float, 2> action_active, encoded, active, narrow, branch, wide, attended;
  View<float, 2> dx, dmodulation_now, dhidden, dnarrow;
  View<float, 3> dqkv_now;
  // the way back
  View<float, 3> dlatents;                  // as latents
  std::vector<View<float, 3>> dmodulation;  // as modulation
  std::vector<View<float, 3>> dqkv;         // of one window
  View<float, 2> dactions;                  // [blocks n, A]
};

// Takes all of it for n candidates from the arena, or measures it.
void lay_out(Arena& arena, const Config& config, const RolloutSizes& sizes,
             const std::vector<RolloutPass>& passes, i64 n, RolloutTrace& trace);

}  // namespace orrery::lewm
