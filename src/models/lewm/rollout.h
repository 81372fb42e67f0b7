#pragma once

#include <vector>

#include "device/memory.h"
#include "models/lewm/model.h"
#include "models/lewm/probe.h"
#include "tensor/arena.h"

namespace orrery::lewm {

// Sizes a rollout state is made for. Blocks of actions run from context frame 0 on: history - 1
// blocks between the context frames, then the candidates' blocks.
struct RolloutSizes {
  i64 samples = 300;
  i64 history = 1;  // context frames H
  i64 blocks = 5;   // action blocks in all; predictions are blocks - history + 1
};

// Working memory of one worker: a chunk of candidates taken through the whole rollout. Rows are
// ordered time first, [time, candidate, width], so that a window of consecutive frames is a slice.
struct RolloutScratch {
  View<float, 3> actions;                  // [blocks, chunk, A]
  View<float, 3> latents;                  // [history + steps, chunk, latent]
  View<float, 2> smoothed, wide, encoded;  // action encoder, [blocks * chunk, .]
  View<float, 2> condition;                // [blocks * chunk, hidden]: SiLU of the conditioning
  std::vector<View<float, 3>> modulation;  // per layer [blocks, chunk, 6 hidden]
  std::vector<View<float, 3>>
      qkv;  // per layer [window, chunk, 3 inner]: keys and values stay while a window grows
  View<float, 2> positioned;      // [window * chunk, input]
  View<float, 2> stream, normed;  // [window * chunk, hidden]
  View<float, 2> attended;        // [window * chunk, inner]
  View<float, 2> hidden;          // [window * chunk, mlp]
  View<float, 2> projected;       // [window * chunk, output]
  View<float, 2> head;            // [window * chunk, head's hidden width]
};

// One block of memory for rollouts of up to the given sizes; nothing allocates after it is made.
struct RolloutState {
  RolloutSizes sizes;
  i64 chunk = 0;  // candidates that go through together
  std::vector<RolloutScratch> workers;
  Block memory;
};

RolloutState make_rollout_state(Context& ctx, const Model& model, RolloutSizes sizes);

// Latents predicted for many candidates from one context.
//
//   context   [H, D]                latents of the context frames, the same for every candidate
//   prefix    [P, A] or empty       blocks of actions that all candidates share: the action_history
//   between context
//                                   frames (P = H - 1), empty for the older split convention, in
//                                   which the first H candidate blocks belong to the context frames
//   actions   [samples, T, A]       candidate blocks, z-scored
//   latents   [samples, H + N, D] or empty, written: context, then N = P + T - H + 1 predictions
//   last      [samples, D] or empty, written: the last prediction
//
// For t = 0 .. N-1 the predictor sees the last min(window, H + t) frames, positions counted from
// the window's left edge. Keys and values of a window that only grew are kept; modulations are
// computed once per block; of the last layer only the newest frame is computed. The same numbers as
// without these savings, to rounding. Candidates are spread over the thread team. tolerant; steady
void rollout(Context& ctx, const Model& model, RolloutState& state, View<const float, 2> context,
             View<const float, 2> prefix, View<const float, 3> actions, View<float, 3> latents,
             View<float, 2> last);

// pred[b, t, :] = pred_proj(predictor(latents[b, ..t], actions[b, ..t])): all frames of given
// windows at once.
//
//   latents, pred   [batch, time, D], time <= window;  actions [batch, time, A]
//
// The state's sizes must hold batch samples and time blocks. With a probe the batch is one chunk,
// rows time first.
void predict(Context& ctx, const Model& model, RolloutState& state, View<const float, 3> latents,
             View<const float, 3> actions, View<float, 3> pred, const Probe* probe = nullptr);

// act_emb[r, :] = action_encoder(actions[r, :]); rows up to samples * blocks of the state
void encode_actions(Context& ctx, const Model& model, RolloutState& state,
                    View<const float, 2> actions, View<float, 2> encoded,
                    const Probe* probe = nullptr);

}  // namespace orrery::lewm
