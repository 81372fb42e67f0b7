#pragma once

#include "device/memory.h"
#include "models/lewm/model.h"
#include "models/lewm/probe.h"
#include "ops/norm_linear.h"
#include "ops/packed_image.h"
#include "tensor/arena.h"

namespace orrery::lewm {

// Scratch of a head: the rows between its two products. A LayerNorm between them works on f32.
template <typename Act>
struct HeadRows {
  View<Act, 2> hidden;    // [rows, head's hidden width]; one of the two is there
  View<float, 2> normed;  // the same, for a head with LayerNorm

  HeadRows() = default;
  HeadRows(Arena& arena, const HeadConfig& config, i64 rows) {
    if (config.norm == HeadConfig::Norm::layer) {
      normed = arena.take<float, 2>({rows, config.hidden});
    } else {
      hidden = arena.take<Act, 2>({rows, config.hidden});
    }
  }
  // for fewer rows
  HeadRows first(i64 rows) const {
    HeadRows some;
    if (hidden) some.hidden = hidden.slice(0, 0, rows);
    if (normed) some.normed = normed.slice(0, 0, rows);
    return some;
  }
};

// Rows between an encoder's products; Act is bf16 for a narrow model, else float.
template <typename Act>
struct EncoderRows {
  View<Act, 2> qkv;       // [chunk * tokens, 3 D]
  View<Act, 2> attended;  // [chunk * tokens, D]
  View<Act, 2> hidden;    // [chunk * tokens, mlp]
  HeadRows<Act> head;     // [chunk, .]
};

// The memory of an encoder for frames of one size: one block where the context's operations run;
// nothing allocates after it is made.
struct EncoderState {
  i64 height = 0, width = 0;
  i64 grid_h = 0, grid_w = 0;
  i64 chunk = 0;  // frames encoded together

  View<float, 2> positions;    // [tokens, D], interpolated for this grid; CLS and meta tokens are
                               // added to theirs
  View<float, 3> patches;      // [chunk, patches, 3 * patch^2], normalised
  View<bf16, 3> byte_patches;  // the same as bytes, of a narrow model
  View<float, 3> tokens;       // [chunk, tokens, D], the residual stream
  View<float, 2> normed;       // [chunk * tokens, D]
  View<float, 2> cls;          // [chunk, D]
  EncoderRows<float> wide;     // one of the two is there
  EncoderRows<bf16> narrow;
  Block memory;

  template <typename Act>
  const EncoderRows<Act>& rows() const {
    if constexpr (std::is_same_v<Act, float>) {
      return wide;
    } else {
      return narrow;
    }
  }
};

// frames: how many the caller will encode at once at most. Frames are encoded at their own size: a
// grid other than the training one gets bicubically interpolated positions, as in the published
// model. Scale pictures of another size first.
EncoderState make_encoder_state(Context& ctx, const Model& model, i64 height, i64 width,
                                i64 frames);

// latents[n, :] = projector(CLS(encoder(frame n)))
//
//   frames    [n, height, width, 3] bytes, RGB; or [n, 3, height, width] f32, already normalised;
//             or as a camera or decoder left them, resized on the way to the state's size where
//             they have another
//   latents   [n, latent width], rows contiguous
//
// All of it lies where the context's operations run, and so do the rows a probe sees. For a narrow
// model bytes go into the patch embedding as they are, normalisation folded into its weights: no
// image of floats is made.
//
// tolerant: measured against float64 golden vectors, see `orrery parity`
void encode(Context& ctx, const Model& model, EncoderState& state, View<const u8, 4> frames,
            View<float, 2> latents, const Probe* probe = nullptr);
void encode(Context& ctx, const Model& model, EncoderState& state, View<const float, 4> pixels,
            View<float, 2> latents, const Probe* probe = nullptr);
void encode(Context& ctx, const Model& model, EncoderState& state, PackedImages frames,
            View<float, 2> latents, const Probe* probe = nullptr);

// y = projector or pred_proj of x, [rows, .]; an absent head copies
template <typename Act>
void apply_head(Context& ctx, const PackedHead& head, View<const float, 2> x,
                const HeadRows<Act>& scratch, View<float, 2> y);

// y = head(norm(x)), the norm in the head's first product where a kernel does that; normed [rows,
// head's inputs] is scratch
template <typename Act>
void apply_normed_head(Context& ctx, const PackedHead& head, const RowNorm& norm,
                       View<const float, 2> x, View<float, 2> normed, const HeadRows<Act>& scratch,
                       View<float, 2> y);

}  // namespace orrery::lewm
