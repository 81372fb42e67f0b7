#pragma once

#include <vector>

#include "models/lewm/weights.h"
#include "nn/feed_forward.h"
#include "tensor/arena.h"

namespace orrery::lewm {

// Training of the predictor over B windows of S frames: conditional blocks whose shifts, scales and
// gates come from the action of each frame. R = B S rows, D width, I = heads * head_dim.

struct PredictorLayerState {
  View<float, 2> modulation;  // [R, 6 D]
  // attention half: normed -> modulated -> normed again -> q | k | v
  View<float, 2> plain, modulated, normed;  // [R, D]
  View<float, 1> plain_mean, plain_rstd, mean, rstd;
  View<float, 2> qkv;               // [R, 3 I]
  View<float, 2> attended;          // [R, I]
  View<float, 3> log_sum;           // [B, heads, S]
  View<float, 2> attention_branch;  // [R, D] before the gate
  View<float, 2> middle;            // [R, D]
  // the other half
  View<float, 2> mlp_plain, mlp_modulated;
  View<float, 1> mlp_plain_mean, mlp_plain_rstd;
  nn::FeedForwardState feed_forward;
  View<float, 2> mlp_branch;
  View<float, 2> output;
};

struct PredictorState {
  Precision precision = Precision::f32;  // of products
  i64 windows = 0, frames = 0;
  View<float, 2> placed;     // [R, input] latents with positions
  View<float, 2> entered;    // [R, D] after the input projection, or the same memory
  View<float, 2> condition;  // [R, D] after the condition projection, empty without one
  View<float, 2> active;     // [R, D] silu of the condition
  std::vector<PredictorLayerState> layers;
  View<float, 2> normed;  // [R, D] after the final norm
  View<float, 1> mean, rstd;
  View<float, 2> output;  // [R, output], the result; without projection the same memory as normed
  // gradients on their way
  View<float, 2> dx, dbranch, dnarrow, dactive;  // [R, D]
  View<float, 2> dwide;                          // [R, mlp]
  View<float, 2> dmodulation;                    // [R, 6 D]
  View<float, 2> dqkv;                           // [R, 3 I]
  View<float, 2> dattended;                      // [R, I]
  View<float, 2> dplaced, dcondition;            // [R, input], the result of the backward pass
};

PredictorState take_predictor(Arena& arena, const PredictorConfig& config, i64 windows, i64 frames,
                              Precision precision);

// Dropout masks of a step; a rate of 0 (inference) switches them off.
struct PredictorDropout {
  float rate = 0.0f;
  float embedding_rate = 0.0f;
  u64 seed = 0;
  u64 step = 0;
  i64 first_window = 0;  // place in the batch, whose masks these are, of the first window here
  const u64* streams = nullptr;  // of the masks of this pass, in a CUDA device's memory
};

// Masks of a pass are numbered; the numbers below mask_count name each of them, and of (step,
// number) its stream. exact
i64 mask_count(const PredictorConfig& config);
u64 mask_stream(u64 step, i64 number);

//   latents     [B, S, input]  last dimension contiguous
//   condition   [R, input]     contiguous
// fills state.output
void predictor_forward(Context& ctx, const PredictorConfig& config, const Predictor& predictor,
                       const PredictorDropout& drop, View<const float, 3> latents,
                       View<const float, 2> condition, PredictorState& state);

// dout [R, output] contiguous; fills state.dplaced (the gradient of the latents) and
// state.dcondition
void predictor_backward(Context& ctx, const PredictorConfig& config, const Predictor& predictor,
                        const Predictor& gradient, const PredictorDropout& drop,
                        View<const float, 2> condition, View<const float, 2> dout,
                        PredictorState& state);

}  // namespace orrery::lewm
