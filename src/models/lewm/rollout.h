#pragma once

#include <vector>

#include "device/memory.h"
#include "models/lewm/encode.h"
#include "models/lewm/model.h"
#include "models/lewm/probe.h"
#include "tensor/arena.h"

namespace orrery::lewm {

// Sizes a rollout state is made for. Blocks of actions run from context frame 0 on: history - 1
// blocks between the context frames, then the candidates' blocks.
struct RolloutSizes {
  i64 samples = 300;  // candidates of one environment
  i64 history = 1;    // context frames H
  i64 blocks = 5;     // action blocks in all; predictions are blocks - history + 1
  i64 environments = 1;
};

// Rows between the predictor's products; Act is bf16 when the model's predictor is narrow, else
// float.
template <typename Act>
struct RolloutRows {
  View<Act, 2> wide;  // action encoder, [blocks * chunk, .]
  std::vector<View<Act, 3>>
      qkv;  // per layer [window, chunk, 3 inner]: keys and values stay while a window grows
  View<Act, 2> attended;  // [window * chunk, inner]
  View<Act, 2> hidden;    // [window * chunk, mlp]
  HeadRows<Act> head;     // [window * chunk, .]
};

// Working memory of one worker: a chunk of candidates taken through the whole rollout. Rows are
// ordered time first, [time, candidate, width], so that a window of consecutive frames is a slice.
struct RolloutScratch {
  View<float, 3> actions;                  // [blocks, chunk, A]
  View<float, 3> latents;                  // [history + steps, chunk, latent]
  View<float, 2> smoothed, encoded;        // action encoder, [blocks * chunk, .]
  View<float, 2> condition;                // [blocks * chunk, hidden]: SiLU of the conditioning
  std::vector<View<float, 3>> modulation;  // per layer [blocks, chunk, 6 hidden]
  View<float, 2> positioned;               // [window * chunk, input]
  View<float, 2> stream, normed;           // [window * chunk, hidden]
  View<float, 2> projected;                // [window * chunk, output]
  RolloutRows<float> wide;                 // one of the two is there
  RolloutRows<bf16> narrow;

  template <typename Act>
  const RolloutRows<Act>& rows() const {
    if constexpr (std::is_same_v<Act, float>) {
      return wide;
    } else {
      return narrow;
    }
  }
};

// One block of memory, where the context's operations run, for rollouts of up to the given sizes;
// nothing allocates after it is made. On the CPU every worker of the team has a chunk of one
// environment's candidates. On a CUDA device one chunk holds the candidates of as many environments
// as fit 2 GiB (about 7,000 of the published size in bf16, 4,700 in f32; a plan of 300 or 1,024
// goes through at once).
struct RolloutState {
  RolloutSizes sizes;
  i64 chunk = 0;  // candidates that go through together
  std::vector<RolloutScratch> workers;
  Block memory;
};

RolloutState make_rollout_state(Context& ctx, const Model& model, RolloutSizes sizes);

// Views of rollout and predict lie where the context's operations run, and so do
// the rows that a probe sees.
struct RolloutInput {
  View<const float, 3> context;  // [environments, H, D], latents of the context frames
  // [environments, P, A] or empty: blocks of actions that an environment's candidates share, the
  // action_history between context frames (P = H - 1); empty for the older split convention, in
  // which the first H candidate blocks belong to the context frames
  View<const float, 3> prefix;
  View<const float, 4> actions;  // [environments, samples, T, A], candidate blocks, z-scored
};
struct RolloutOutput {
  // [environments, samples, H + N, D] or empty: context, then N = P + T - H + 1 predictions
  View<float, 4> latents;
  View<float, 3> last;  // [environments, samples, D] or empty: the last prediction
};

// Latents predicted for many candidates, from one context per environment.
//
// For t = 0 .. N-1 the predictor sees the last min(window, H + t) frames, positions counted from
// the window's left edge. Keys and values of a window that only grew are kept; modulations are
// computed once per block; of the last layer only the newest frame is computed. The same numbers as
// without these savings, to rounding. All views contiguous. On the CPU candidates are spread over
// the thread team. tolerant; steady
void rollout(Context& ctx, const Model& model, RolloutState& state, const RolloutInput& input,
             const RolloutOutput& output);

// pred[b, t, :] = pred_proj(predictor(latents[b, ..t], actions[b, ..t])): all frames of given
// windows at once.
//
//   latents, pred   [batch, time, D], time <= window;  actions [batch, time, A]; last dimensions
//                   contiguous
//
// The state's sizes must hold batch samples and time blocks. With a probe the batch is one chunk,
// rows time first.
void predict(Context& ctx, const Model& model, RolloutState& state, View<const float, 3> latents,
             View<const float, 3> actions, View<float, 3> pred, const Probe* probe = nullptr);

}  // namespace orrery::lewm
