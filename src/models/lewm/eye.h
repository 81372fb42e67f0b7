#pragma once

#include <span>

#include "media/image.h"
#include "models/lewm/encode.h"

namespace orrery::lewm {

// Pictures of one size to latents: frames of the model's own size go in as bytes; others are
// normalised first and then resized (antialiased bilinear, the shorter edge to the model's image
// size), which is the published order. Pictures are the host's; their bytes are all that goes to a
// CUDA device. Latents lie where the context's operations run.
class Eye {
 public:
  // The model outlives the eye and sees pictures, not vectors. frames: looked at together, at most.
  Eye(Context& ctx, const Model& model, i64 height, i64 width, i64 frames);

  // frames [n, height, width, 3] -> latents [n, D]; any n, in groups of the eye's size
  void look(Context& ctx, View<const u8, 4> frames, View<float, 2> latents);
  void look(Context& ctx, const Image& image, View<float, 1> latent);

  i64 height() const { return height_; }
  i64 width() const { return width_; }

 private:
  const Model* model_;
  i64 height_, width_, group_;
  bool resizes_;
  EncoderState encoder_;
  Block memory_;
  View<u8, 4> bytes_;                    // [group, h, w, 3], on a CUDA device
  View<float, 4> normalized_, resized_;  // [group, 3, h, w]
};

}  // namespace orrery::lewm
