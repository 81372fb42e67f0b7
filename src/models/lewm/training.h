#pragma once

#include <vector>

#include "models/lewm/training_encoder.h"
#include "models/lewm/training_head.h"
#include "models/lewm/training_predictor.h"
#include "models/lewm/vector_encoder.h"
#include "models/lewm/weights.h"

namespace orrery::lewm {

// The training pass of a LeWM over B windows of T frames: every frame encoded, every frame but the
// first predicted from those before it, and the gradient of whatever is computed from the two.
//
//   emb  = projector(encoder(pixels))                                        [B, T, D]
//   pred = pred_proj(predictor(emb[:, :S], action_encoder(action[:, :S])))   [B, S, D]
//
// S is T - 1, or what the predictor sees where that is less.
//
// With more than one prediction step the predictor goes on as it does in planning: from the
// latents of the first `context` frames C it feeds on its own predictions, in windows that grow to
// what it sees and then slide, each with positions from 0. The first of these predictions, of frame
// C, is pred[:, C-1]; the others are
//
//   rolled[:, i]  the prediction of frame C + 1 + i, i = 0 .. steps-2          [B, steps-1, D]
//
// Each goes through pred_proj with all rows of its window, as a call of the official predict does,
// so BatchNorm's statistics are those of the window, and its running ones see every pass.
struct Unroll {
  i64 steps = 1;    // 1: the published pass
  i64 context = 0;  // 0: as many frames as the predictor sees
};

// Frames of a window that a predictor of this size needs: max(window + 1, context + steps). A
// context the predictor cannot see is an error.
i64 frames_needed(const PredictorConfig& config, const Unroll& unroll);

// What a pass normalises with and whether it forgets.
struct PassMode {
  // batch statistics, running statistics updated, dropout on; else as in inference
  bool training = true;
  u64 dropout_seed = 0;
  u64 step = 0;  // each step draws its own dropout masks
  // CUDA only: the masks' streams (dropout_streams) lie here, in the device's memory, and are read
  // when a mask is drawn, so that a captured pass draws others each time; step is not used then
  const u64* streams = nullptr;
  // Which windows of the batch are here. Masks and BatchNorm's statistics are those of the batch,
  // so that parts of it come to what the whole does.
  BatchShare share = {};
};

// The streams that the masks of a training pass are drawn from, as kernels find them: those of each
// pass of the predictor. exact
std::vector<u64> dropout_streams(const PredictorConfig& config, const Unroll& unroll, u64 step);

// The gradient of a loss with respect to what a pass gives, all contiguous; `rolled` only where
// there is more than one step.
struct LossGradient {
  View<const float, 3> emb, pred, rolled;
};

// Activations and scratch of one pass, one block of memory planned once.
class TrainingState {
 public:
  // precision: of the products, f32 or bf16; weights and gradients are f32 in both, and what lies
  // between products is but for rows that nothing else reads (take_encoder)
  // from_latents: of a pass that is given latents and learns dynamics alone; it has no room for an
  // encoder
  TrainingState(const Config& config, i64 windows, i64 frames, const Unroll& unroll = {},
                Precision precision = Precision::f32, bool from_latents = false);
  // the same where the context works
  TrainingState(const Context& ctx, const Config& config, i64 windows, i64 frames,
                const Unroll& unroll = {}, Precision precision = Precision::f32,
                bool from_latents = false);

  i64 windows() const { return windows_; }
  i64 frames() const { return frames_; }
  Precision precision() const { return precision_; }
  bool from_latents() const { return from_latents_; }
  std::size_t bytes() const { return memory_.bytes(); }  // of the block
  i64 context() const { return context_; }               // C
  View<const float, 3> emb() const { return emb_.reshaped<3>({windows_, frames_, width_}); }
  View<const float, 3> pred() const { return passes_[0].pred; }
  View<const float, 3> rolled() const { return rolled_; }

 private:
  friend void forward(Context&, const Config&, const Tensors&, TrainingState&, const PassMode&,
                      View<const u8, 5>, View<const float, 3>, View<const float, 3>);
  friend void forward_from_latents(Context&, const Config&, const Tensors&, TrainingState&,
                                   const PassMode&, View<const float, 3>, View<const float, 3>);
  friend void backward_to_encoder(Context&, const Config&, const Tensors&, TrainingState&,
                                  const LossGradient&, const Tensors&);
  friend void backward_encoder(Context&, const Config&, const Tensors&, TrainingState&,
                               const Tensors&);

  // One call of the predictor, on frames first .. first + seen - 1.
  struct Pass {
    i64 first = 0, seen = 0;
    View<float, 3> latents;    // [B, seen, D]: in the first pass those of the encoder
    View<float, 2> condition;  // [B seen, action width]
    PredictorState predictor;
    HeadState pred_proj;
    View<float, 3> pred;        // [B, seen, D]
    View<float, 3> dpred;       // the same, unless there is one pass
    View<float, 2> dpredicted;  // [B seen, predictor width]
  };
  void lay_out(Arena& arena, const Config& config);
  // actions, and every pass of the predictor, once emb is there
  void imagine(Context& ctx, const Config& config, const Tensors& tensors,
               View<const float, 3> action);
  void predict(Context& ctx, const Config& config, const Tensors& tensors, std::size_t index);
  void predict_backward(Context& ctx, const Config& config, const Tensors& tensors,
                        const Tensors& gradient, std::size_t index, View<const float, 2> dpred);
  // the prediction that pass `index` adds to the rollout: of frame context + index
  View<float, 3> newest(View<float, 3> of_pass, std::size_t index) const;
  View<float, 2> daction_emb() const;
  // what the projector is given, [B T, encoder width]
  View<float, 2> encoded() const { return vector_.latents ? vector_.latents : encoder_.cls; }

  i64 windows_, frames_, width_, context_, steps_;
  Precision precision_;
  Precision kept_;  // of such rows of the encoder
  bool from_latents_;
  Block memory_;
  PassMode mode_;

  TrainingEncoderState encoder_;  // one of the two is there
  VectorEncoderState vector_;
  HeadState projector_;
  View<float, 2> emb_;  // [B T, D]
  // the action encoder, over B (T-1) rows
  View<float, 2> action_, smooth_, action_wide_, action_active_, action_emb_;
  std::vector<Pass> passes_;  // one for each step
  View<float, 3> rolled_;     // [B, steps-1, D]

  // gradients on their way
  View<float, 2> demb_, dcls_, daction_emb_, daction_wide_, dsmooth_;
};

// Fills emb, pred and rolled. In training mode it also updates the weights' running statistics and
// counters.
//
//   pixels   [B, T, H, W, 3] contiguous; H = W and as many patches as the configuration has;
//            other frames are an error, since positions are learned for this grid alone
//   action   [B, T, A] contiguous, z-scored; NaN is read as 0; the last block of a window is not
//   used
//   observations   [B, T, N] contiguous, as recorded: what a model of vectors sees; pixels are then
//                  not looked at and may be empty
//
// All of it lies where the context works.
//
// tolerant; steady: the same bits for any number of threads
void forward(Context& ctx, Weights& weights, TrainingState& state, const PassMode& mode,
             View<const u8, 5> pixels, View<const float, 3> action,
             View<const float, 3> observations = {});
// The same for tensors that somebody else keeps; counts no batch.
void forward(Context& ctx, const Config& config, const Tensors& tensors, TrainingState& state,
             const PassMode& mode, View<const u8, 5> pixels, View<const float, 3> action,
             View<const float, 3> observations = {});

// The same from latents [B, T, D] that an encoder at rest has given: emb is what came.
void forward_from_latents(Context& ctx, Weights& weights, TrainingState& state,
                          const PassMode& mode, View<const float, 3> latents,
                          View<const float, 3> action);
void forward_from_latents(Context& ctx, const Config& config, const Tensors& tensors,
                          TrainingState& state, const PassMode& mode, View<const float, 3> latents,
                          View<const float, 3> action);

// Adds to `gradient` (views of a block with the layout of the parameters), given the gradient of a
// loss with respect to what the pass gave, through the whole rollout. The state must hold the
// forward pass of these weights in training mode. After a pass from latents the encoder and its
// projector have no gradient. With a share of a batch: what the windows here
// add. steady
void backward(Context& ctx, const Weights& weights, TrainingState& state, const LossGradient& loss,
              const Tensors& gradient);
void backward(Context& ctx, const Config& config, const Tensors& tensors, TrainingState& state,
              const LossGradient& loss, const Tensors& gradient);

// The same in two calls, so that the gradient of all but the encoder can travel while the
// encoder's, which takes most of the time, is computed.
void backward_to_encoder(Context& ctx, const Config& config, const Tensors& tensors,
                         TrainingState& state, const LossGradient& loss, const Tensors& gradient);
void backward_encoder(Context& ctx, const Config& config, const Tensors& tensors,
                      TrainingState& state, const Tensors& gradient);

}  // namespace orrery::lewm
