#pragma once

#include "device/memory.h"
#include "models/lewm/model.h"
#include "models/lewm/probe.h"
#include "tensor/arena.h"

namespace orrery::lewm {

// The memory of an encoder for frames of one size: one block, nothing allocates after it is made.
struct EncoderState {
  i64 height = 0, width = 0;
  i64 grid_h = 0, grid_w = 0;
  i64 chunk = 0;  // frames encoded together

  View<float, 2>
      positions;  // [1 + patches, D], interpolated for this grid; the CLS token is added to its row
  View<float, 3> patches;   // [chunk, patches, 3 * patch^2]
  View<float, 3> tokens;    // [chunk, 1 + patches, D], the residual stream
  View<float, 2> normed;    // [chunk * (1 + patches), D]
  View<float, 2> qkv;       // [chunk * (1 + patches), 3 D]
  View<float, 2> attended;  // [chunk * (1 + patches), D]
  View<float, 2> hidden;    // [chunk * (1 + patches), mlp]
  View<float, 2> cls;       // [chunk, D]
  View<float, 2> head;      // [chunk, head's hidden width]
  Block memory;
};

// frames: how many the caller will encode at once at most. Frames are encoded at their own size: a
// grid other than the training one gets bicubically interpolated positions, as in the published
// model. Scale pictures of another size first.
EncoderState make_encoder_state(Context& ctx, const Model& model, i64 height, i64 width,
                                i64 frames);

// latents[n, :] = projector(CLS(encoder(frame n)))
//
//   frames    [n, height, width, 3] bytes, RGB; or [n, 3, height, width] f32, already normalised
//   latents   [n, latent width]
//
// tolerant: measured against float64 golden vectors, see `orrery parity`
void encode(Context& ctx, const Model& model, EncoderState& state, View<const u8, 4> frames,
            View<float, 2> latents, const Probe* probe = nullptr);
void encode(Context& ctx, const Model& model, EncoderState& state, View<const float, 4> pixels,
            View<float, 2> latents, const Probe* probe = nullptr);

// y = projector or pred_proj of x; hidden [rows, head's hidden width] is scratch. An absent head
// copies.
void apply_head(Context& ctx, const PackedHead& head, View<const float, 2> x, View<float, 2> hidden,
                View<float, 2> y);

}  // namespace orrery::lewm
