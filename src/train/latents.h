#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "data/episodes.h"
#include "models/lewm/eye.h"
#include "tensor/placed.h"

namespace orrery::train {

// Encodes the pictures of a recording, some of its rows at a time.
class FrameEncoder {
 public:
  // All three outlive it. Error: no pixels, or pictures of another size than the model's.
  FrameEncoder(Context& ctx, const lewm::Model& model, const Episodes& episodes);

  // Latents of rows begin, begin + stride, ...: out [count, D]. tolerant; steady
  void encode(i64 begin, i64 count, i64 stride, float* out);

 private:
  const Episodes& episodes_;
  Context& ctx_;
  i64 column_, side_, width_;
  lewm::Eye eye_;
  std::vector<u8> bytes_;
  Placed<float> latents_;
};

// A recording in memory with the latent of every row in place of its pixels: columns `latents`
// [rows, D] and `action`. `told` hears how many rows are done, now and then.
std::unique_ptr<Episodes> with_latents(Context& ctx, const lewm::Model& model,
                                       const Episodes& episodes,
                                       const std::function<void(i64 done)>& told);

}  // namespace orrery::train
