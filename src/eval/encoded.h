#pragma once

#include <span>
#include <vector>

#include "data/episodes.h"
#include "models/lewm/model.h"
#include "tensor/tensor.h"

namespace orrery {

// Frames of a recording and what a model makes of them.
struct EncodedFrames {
  struct Piece {
    i64 episode = 0;
    i64 first = 0;   // of the frames below
    i64 frames = 0;  // of this episode, from its beginning, `stride` rows apart
  };
  i64 stride = 1;
  std::vector<Piece> pieces;
  std::vector<i64> rows;  // of the recording, one a frame
  Tensor latents;         // f32 [frames, D], the host's

  i64 count() const { return static_cast<i64>(rows.size()); }
  std::span<const float> latent(i64 frame) const {
    const auto dim = static_cast<std::size_t>(latents.size(1));
    return latents.span<float>().subspan(static_cast<std::size_t>(frame) * dim, dim);
  }
};

struct EncodeChoice {
  i64 stride = 5;     // rows between frames: the model's frameskip
  i64 frames = 1000;  // at most; the last episode is cut short
  u64 seed = 0;       // of the order in which episodes are taken
};

// Encodes whole episodes of those given, in an order drawn by the seed, until there are enough
// frames. Needs a column `pixels` of RGB bytes. Error when there is no frame. steady
EncodedFrames encode_frames(Context& ctx, const lewm::Model& model, const Episodes& episodes,
                            const std::vector<i64>& among, const EncodeChoice& choice);

// sum_d (a_d - b_d)^2
double squared_distance(std::span<const float> a, std::span<const float> b);

}  // namespace orrery
