#pragma once

#include <vector>

#include "models/lewm/training_encoder.h"
#include "models/lewm/training_head.h"
#include "models/lewm/training_predictor.h"
#include "models/lewm/weights.h"

namespace orrery::lewm {

// The training pass of a LeWM over B windows of T frames: every frame encoded, every frame but the
// first predicted from those before it, and the gradient of whatever is computed from the two.
//
//   emb  = projector(encoder(pixels))                                        [B, T, D]
//   pred = pred_proj(predictor(emb[:, :T-1], action_encoder(action[:, :T-1])))   [B, T-1, D]

// What a pass normalises with and whether it forgets.
struct PassMode {
  // batch statistics, running statistics updated, dropout on; else as in inference
  bool training = true;
  u64 dropout_seed = 0;
  u64 step = 0;  // each step draws its own dropout masks
  // Which windows of the batch are here. Masks and BatchNorm's statistics are those of the batch,
  // so that parts of it come to what the whole does.
  BatchShare share = {};
};

// Activations and scratch of one pass, one block of memory planned once.
class TrainingState {
 public:
  TrainingState(const Config& config, i64 windows, i64 frames);

  i64 windows() const { return windows_; }
  i64 frames() const { return frames_; }
  View<const float, 3> emb() const { return emb_.reshaped<3>({windows_, frames_, width_}); }
  View<const float, 3> pred() const { return pred_.reshaped<3>({windows_, frames_ - 1, width_}); }

 private:
  friend void forward(Context&, Weights&, TrainingState&, const PassMode&, View<const u8, 5>,
                      View<const float, 3>);
  friend void backward(Context&, const Weights&, TrainingState&, View<const float, 3>,
                       View<const float, 3>, const Tensors&);
  void lay_out(Arena& arena, const Config& config);

  i64 windows_, frames_, width_;
  Block memory_;
  PassMode mode_;

  TrainingEncoderState encoder_;
  HeadState projector_, pred_proj_;
  View<float, 2> emb_;  // [B T, D]
  // the action encoder, over B (T-1) rows
  View<float, 2> action_, smooth_, action_wide_, action_active_, action_emb_;
  PredictorState predictor_;
  View<float, 2> pred_;  // [B (T-1), D]

  // gradients on their way
  View<float, 2> demb_, dcls_, dpredicted_, daction_wide_, dsmooth_;
};

// Fills emb and pred. In training mode it also updates the weights' running statistics and
// counters.
//
//   pixels   [B, T, H, W, 3] contiguous; H = W and as many patches as the configuration has;
//            other frames are an error, since positions are learned for this grid alone
//   action   [B, T, A] contiguous, z-scored; NaN is read as 0; the last block of a window is not
//   used
//
// tolerant; steady: the same bits for any number of threads
void forward(Context& ctx, Weights& weights, TrainingState& state, const PassMode& mode,
             View<const u8, 5> pixels, View<const float, 3> action);

// Adds to `gradient` (views of a block with the layout of the parameters), given the gradient of a
// loss with respect to emb and pred, both contiguous. The state must hold the forward pass of these
// weights in training mode. With a share of a batch: what the windows here add. steady
void backward(Context& ctx, const Weights& weights, TrainingState& state, View<const float, 3> demb,
              View<const float, 3> dpred, const Tensors& gradient);

}  // namespace orrery::lewm
