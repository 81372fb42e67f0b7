#pragma once

#include <vector>

#include "models/lewm/weights.h"
#include "nn/feed_forward.h"
#include "tensor/arena.h"

namespace orrery::lewm {

// Training of the vision transformer. Only the CLS token is used after the last layer, so there
// queries, the output projection and the MLP are computed for CLS alone; keys and values need every
// token. F frames, N tokens, D width.

struct EncoderLayerState {
  i64 queries = 0;                                     // N, or 1 in the last layer
  bool linear = false;                                 // linear attention, which keeps no log_sum
  View<float, 2> normed;                               // [F N, D]
  View<float, 1> mean, rstd;                           // [F N]
  View<float, 2> qkv;                                  // [F N, 3 D]
  View<float, 2> attended;                             // [F queries, D]
  View<bf16, 2> normed_bf16, qkv_bf16, attended_bf16;  // in place of the three
  View<float, 3> log_sum;                              // [F, heads, queries]
  View<float, 2> middle;                               // [F queries, D] after attention
  nn::FeedForwardState feed_forward;
  View<float, 2> output;  // [F queries, D]
};

struct TrainingEncoderState {
  Precision precision = Precision::f32;  // of products
  i64 frames = 0, tokens = 0;
  View<float, 3> patches;   // [F, N, 3 patch^2]; rows of CLS and meta tokens stay zero
  View<float, 2> table;     // [N, D] what every frame adds to its patches
  View<float, 2> embedded;  // [F N, D]
  std::vector<EncoderLayerState> layers;
  View<float, 2> cls;         // [F, D], the result
  View<float, 1> mean, rstd;  // [F] of the final norm
  // scratch of the backward pass
  View<float, 2> dx;       // [F N, D]
  View<float, 2> dnarrow;  // [F N, D]
  View<float, 1> dwide;    // F N max(mlp, 3 D)
};

// kept: normed rows, queries, keys, values and what attention makes of them (and their slopes) are
// kept as floats, or as bf16, which is for products of bf16; linear attention keeps floats
TrainingEncoderState take_encoder(Arena& arena, const EncoderConfig& config, i64 frames,
                                  Precision precision, Precision kept = Precision::f32);

// state.cls = encoder(pixels). pixels [F, H, W, 3] contiguous, H = W
void encoder_forward(Context& ctx, const EncoderConfig& config, const Encoder& encoder,
                     View<const u8, 4> pixels, TrainingEncoderState& state);

// dcls [F, D] contiguous
void encoder_backward(Context& ctx, const EncoderConfig& config, const Encoder& encoder,
                      const Encoder& gradient, View<const float, 2> dcls,
                      TrainingEncoderState& state);

}  // namespace orrery::lewm
