#pragma once

#include <optional>
#include <span>
#include <vector>

#include "data/episodes.h"
#include "models/lewm/eye.h"
#include "models/lewm/vector_encoder.h"
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

// What a model makes of a recording's rows: of their pictures, or of the column of numbers that it
// was made for. Error when the recording has not what the model sees.
class RowReader {
 public:
  // together: rows that are read and looked at together. Model and recording outlive it.
  RowReader(Context& ctx, const lewm::Model& model, const Episodes& episodes, i64 together);

  // latents [count, D], where the context works, of rows begin, begin + stride, ...; count is at
  // most `together`
  void read(Context& ctx, i64 begin, i64 stride, i64 count, View<float, 2> latents);

 private:
  const Episodes& episodes_;
  i64 column_ = 0;
  std::optional<lewm::Eye> eye_;  // one of the two is there
  std::optional<lewm::VectorReader> vectors_;
  Tensor seen_;               // [together, row]: bytes or f32
  std::vector<double> wide_;  // the numbers of the latter as they are read
};

struct EncodeChoice {
  i64 stride = 5;     // rows between frames: the model's frameskip
  i64 frames = 1000;  // at most; the last episode is cut short
  u64 seed = 0;       // of the order in which episodes are taken
};

// Encodes whole episodes of those given, in an order drawn by the seed, until there are enough
// frames. Needs a column `pixels` of RGB bytes, or the one that a model of vectors sees. Error when
// there is no frame. steady
EncodedFrames encode_frames(Context& ctx, const lewm::Model& model, const Episodes& episodes,
                            const std::vector<i64>& among, const EncodeChoice& choice);

// sum_d (a_d - b_d)^2
double squared_distance(std::span<const float> a, std::span<const float> b);

}  // namespace orrery
