#pragma once

#include <vector>

#include "device/memory.h"
#include "models/lewm/model.h"
#include "models/lewm/weights.h"
#include "ops/precision.h"
#include "tensor/arena.h"

namespace orrery::lewm {

// The encoder of the vector world models ("VectorMlp"), which sees a robot's or simulator's numbers
// in place of a picture. With x the observation z-scored by the encoder's mean and variance, what
// is not finite made 0:
//
//   h = gelu(layer_norm(W_i h + b_i)),  i = 0 .. depth-2,  h = x before;  latent = W h + b
//
// LayerNorm's eps is 1e-5, and this GELU is the tanh approximation, as those models' runtime has
// it: v (1 + tanh(sqrt(2/pi) (v + 0.044715 v^3))) / 2. CPU only.

// What a pass keeps: activations of every map, one block.
struct VectorEncoderState {
  Precision precision = Precision::f32;  // of products
  struct Layer {
    View<float, 2> wide, normed, active;  // [rows, hidden]
    View<float, 1> mean, rstd;            // [rows]
  };
  View<float, 2> inputs;      // [rows, N], z-scored
  std::vector<Layer> layers;  // of all maps but the last
  View<float, 2> latents;     // [rows, D], the result
  View<float, 2> dwide;       // [rows, hidden], scratch of the backward pass
  View<float, 2> dactive;     // the same
};

VectorEncoderState take_vector_encoder(Arena& arena, const EncoderConfig& config, i64 rows,
                                       Precision precision);

// state.latents = encoder(observations); observations [rows, N] contiguous, as recorded. tolerant;
// steady
void vector_forward(Context& ctx, const VectorEncoder& encoder, View<const float, 2> observations,
                    VectorEncoderState& state);

// Adds to `gradient`; dlatents [rows, D] contiguous. steady
void vector_backward(Context& ctx, const VectorEncoder& encoder, const VectorEncoder& gradient,
                     View<const float, 2> dlatents, VectorEncoderState& state);

// What observations are z-scored by; a deviation of 0 counts as 1.
void set_observation_scale(Weights& weights, const std::vector<double>& mean,
                           const std::vector<double>& deviation);

// Observations to latents with a model that takes them, in groups of the reader's size.
class VectorReader {
 public:
  // the model outlives the reader; an Error when it sees pictures
  VectorReader(const Model& model, i64 rows);

  // latents[n, :] = projector(encoder(observation n)); observations [n, N], latents [n, D], rows
  // contiguous
  void read(Context& ctx, View<const float, 2> observations, View<float, 2> latents);

 private:
  const Model* model_;
  i64 rows_;
  Block memory_;
  VectorEncoderState state_;
};

}  // namespace orrery::lewm
