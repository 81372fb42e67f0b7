#include "models/lewm/training.h"

#include <cmath>

#include "nn/dense.h"
#include "ops/strided.h"

namespace orrery::lewm {

namespace {

PredictorDropout predictor_dropout(const PredictorConfig& config, const PassMode& mode) {
  if (!mode.training) return {};
  return {config.dropout, config.embedding_dropout, mode.dropout_seed, mode.step, mode.share.first};
}

// all blocks of a window but the last, which leads out of it; what is not a number counts as 0
void take_actions(Context& ctx, View<const float, 3> action, View<float, 2> rows) {
  const i64 kept = action.size(1) - 1;
  ctx.parallel_ranges(rows.size(0), 256, [&](i64 begin, i64 end, int) {
    for (i64 row = begin; row < end; ++row) {
      for (i64 a = 0; a < rows.size(1); ++a) {
        const float value = action(row / kept, row % kept, a);
        rows(row, a) = std::isnan(value) ? 0.0f : value;
      }
    }
  });
}

}  // namespace

TrainingState::TrainingState(const Config& config, i64 windows, i64 frames)
    : windows_(windows), frames_(frames), width_(config.latent()) {
  check(windows >= 1 && frames >= 2, "training: ", windows, " windows of ", frames,
        " frames; at least one window of two frames is needed");
  check(frames - 1 <= config.predictor.window, "training: windows of ", frames,
        " frames need a predictor that sees ", frames - 1, ", this one sees ",
        config.predictor.window);
  Arena measure;
  lay_out(measure, config);
  memory_ = Block(measure.used());
  Arena arena(memory_);
  lay_out(arena, config);
}

void TrainingState::lay_out(Arena& arena, const Config& config) {
  const i64 all = windows_ * frames_, kept = windows_ * (frames_ - 1);
  const i64 action_wide = config.action.mlp_scale * config.action.output;
  encoder_ = take_encoder(arena, config.encoder, all);
  projector_ = take_head(arena, config.projector, all);
  emb_ = arena.take<float, 2>({all, width_});
  action_ = arena.take<float, 2>({kept, config.action.input});
  smooth_ = arena.take<float, 2>({kept, config.action.smoothed});
  action_wide_ = arena.take<float, 2>({kept, action_wide});
  action_active_ = arena.take<float, 2>({kept, action_wide});
  action_emb_ = arena.take<float, 2>({kept, config.action.output});
  predictor_ = take_predictor(arena, config.predictor, windows_, frames_ - 1);
  pred_proj_ = take_head(arena, config.pred_proj, kept);
  pred_ = arena.take<float, 2>({kept, width_});
  demb_ = arena.take<float, 2>({all, width_});
  dcls_ = arena.take<float, 2>({all, config.encoder.hidden});
  dpredicted_ = arena.take<float, 2>({kept, config.predictor.output});
  daction_wide_ = arena.take<float, 2>({kept, action_wide});
  dsmooth_ = arena.take<float, 2>({kept, config.action.smoothed});
}

void forward(Context& ctx, Weights& weights, TrainingState& state, const PassMode& mode,
             View<const u8, 5> pixels, View<const float, 3> action) {
  const Config& config = weights.config;
  const Tensors& tensors = weights.tensors;
  const i64 windows = state.windows_, frames = state.frames_;
  check(pixels.size(0) == windows && pixels.size(1) == frames && pixels.size(4) == 3,
        "training: pixels are ", pixels.shape(), ", needed (", windows, ", ", frames, ", H, W, 3)");
  check(action.size(0) == windows && action.size(1) == frames &&
            action.size(2) == config.action.input,
        "training: actions are ", action.shape(), ", needed (", windows, ", ", frames, ", ",
        config.action.input, ")");
  state.mode_ = mode;

  encoder_forward(ctx, config.encoder, tensors.encoder,
                  pixels.reshaped<4>({windows * frames, pixels.size(2), pixels.size(3), 3}),
                  state.encoder_);
  head_forward(ctx, config.projector, tensors.projector, mode.training, mode.share.times(frames),
               state.encoder_.cls, state.projector_, state.emb_);

  take_actions(ctx, action, state.action_);
  nn::dense(ctx, tensors.action.smooth, state.action_, state.smooth_);
  nn::dense(ctx, tensors.action.up, state.smooth_, state.action_wide_);
  activate(ctx, Activation::silu, state.action_wide_.flat(), state.action_active_.flat());
  nn::dense(ctx, tensors.action.down, state.action_active_, state.action_emb_);

  predictor_forward(ctx, config.predictor, tensors.predictor,
                    predictor_dropout(config.predictor, mode), state.emb().slice(1, 0, frames - 1),
                    state.action_emb_, state.predictor_);
  head_forward(ctx, config.pred_proj, tensors.pred_proj, mode.training,
               mode.share.times(frames - 1), state.predictor_.output, state.pred_proj_,
               state.pred_);
  if (mode.training) ++weights.batches_tracked;
}

void backward(Context& ctx, const Weights& weights, TrainingState& state, View<const float, 3> demb,
              View<const float, 3> dpred, const Tensors& gradient) {
  const Config& config = weights.config;
  const Tensors& tensors = weights.tensors;
  check(state.mode_.training, "backward: the last forward pass was not a training pass");
  check(demb.sizes() == state.emb().sizes() && dpred.sizes() == state.pred().sizes(),
        "backward: gradients are ", demb.shape(), " and ", dpred.shape(), ", needed ",
        state.emb().shape(), " and ", state.pred().shape());

  const BatchShare& share = state.mode_.share;
  head_backward(ctx, config.pred_proj, tensors.pred_proj, gradient.pred_proj,
                share.times(state.frames_ - 1), state.predictor_.output, state.pred_proj_,
                dpred.as_rows(), state.dpredicted_);
  predictor_backward(ctx, config.predictor, tensors.predictor, gradient.predictor,
                     predictor_dropout(config.predictor, state.mode_), state.action_emb_,
                     state.dpredicted_, state.predictor_);

  const ActionEncoder& action = tensors.action;
  const ActionEncoder& daction = gradient.action;
  nn::dense_backward(ctx, action.down, daction.down, state.action_active_,
                     state.predictor_.dcondition, state.daction_wide_);
  activate_backward(ctx, Activation::silu, state.action_wide_.flat(), state.daction_wide_.flat(),
                    state.daction_wide_.flat());
  nn::dense_backward(ctx, action.up, daction.up, state.smooth_, state.daction_wide_,
                     state.dsmooth_);
  nn::dense_backward(ctx, action.smooth, daction.smooth, state.action_, state.dsmooth_, {});

  // a latent is used by the loss and, but for a window's last, by the predictor
  const i64 windows = state.windows_, kept = state.frames_ - 1, width = state.width_;
  const View<float, 3> all = state.demb_.reshaped<3>({windows, state.frames_, width});
  copy(ctx, demb, all);
  add_to(ctx, state.predictor_.dplaced.reshaped<3>({windows, kept, width}), all.slice(1, 0, kept));
  head_backward(ctx, config.projector, tensors.projector, gradient.projector,
                share.times(state.frames_), state.encoder_.cls, state.projector_, state.demb_,
                state.dcls_);
  encoder_backward(ctx, config.encoder, tensors.encoder, gradient.encoder, state.dcls_,
                   state.encoder_);
}

}  // namespace orrery::lewm
