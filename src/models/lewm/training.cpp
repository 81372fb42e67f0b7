#include "models/lewm/training.h"

#include <algorithm>

#include "base/random.h"
#include "nn/dense.h"
#include "ops/strided.h"

namespace orrery::lewm {

namespace {

// every pass of a rollout draws masks of its own
u64 step_of_pass(u64 step, std::size_t pass) { return pass == 0 ? step : mix(step, pass); }

PredictorDropout predictor_dropout(const PredictorConfig& config, const PassMode& mode,
                                   std::size_t pass) {
  if (!mode.training) return {};
  const u64* streams = mode.streams == nullptr
                           ? nullptr
                           : mode.streams + pass * static_cast<std::size_t>(mask_count(config));
  return {config.dropout,    config.embedding_dropout,
          mode.dropout_seed, step_of_pass(mode.step, pass),
          mode.share.first,  streams};
}

}  // namespace

i64 frames_needed(const PredictorConfig& config, const Unroll& unroll) {
  const i64 context = unroll.context > 0 ? unroll.context : config.window;
  check(unroll.steps >= 1 && context <= config.window, "training: ", unroll.steps,
        " prediction steps from a context of ", context, " frames; the predictor sees ",
        config.window);
  return unroll.steps == 1 ? config.window + 1
                           : std::max(config.window + 1, context + unroll.steps);
}

std::vector<u64> dropout_streams(const PredictorConfig& config, const Unroll& unroll, u64 step) {
  std::vector<u64> streams;
  for (i64 pass = 0; pass < unroll.steps; ++pass) {
    const u64 of_pass = step_of_pass(step, static_cast<std::size_t>(pass));
    for (i64 mask = 0; mask < mask_count(config); ++mask) {
      streams.push_back(mask_stream(of_pass, mask));
    }
  }
  return streams;
}

TrainingState::TrainingState(const Config& config, i64 windows, i64 frames, const Unroll& unroll,
                             Precision precision, bool from_latents)
    : TrainingState(Context({.threads = 1}), config, windows, frames, unroll, precision,
                    from_latents) {}

TrainingState::TrainingState(const Context& ctx, const Config& config, i64 windows, i64 frames,
                             const Unroll& unroll, Precision precision, bool from_latents)
    : windows_(windows),
      frames_(frames),
      width_(config.latent()),
      context_(unroll.context > 0 ? unroll.context : std::min(config.predictor.window, frames - 1)),
      steps_(unroll.steps),
      precision_(precision),
      kept_(precision),
      from_latents_(from_latents) {
  check(precision == Precision::f32 || precision == Precision::bf16, "training: precision is ",
        name_of(precision), ", there is training in f32 or bf16");
  check(windows >= 1 && frames >= 2, "training: ", windows, " windows of ", frames,
        " frames; at least one window of two frames is needed");
  check(!config.encoder.of_vectors() || ctx.device() == Device::cpu,
        "training: a model that sees vectors learns on the CPU, ", name_of(ctx.device()),
        " was asked for");
  const i64 most = frames_needed(config.predictor, unroll);
  check(frames <= most, "training: windows of ", frames, " frames came, a predictor that sees ",
        config.predictor.window, " uses ", most, " with ", steps_, " prediction steps");
  check(steps_ == 1 || context_ + steps_ <= frames, "training: ", steps_,
        " prediction steps from a context of ", context_, " frames need windows of ",
        context_ + steps_, ", these have ", frames);
  Arena measure;
  lay_out(measure, config);
  memory_ = Block(ctx, measure.used());
  Arena arena(memory_);
  lay_out(arena, config);
}

void TrainingState::lay_out(Arena& arena, const Config& config) {
  const i64 all = windows_ * frames_, kept = windows_ * (frames_ - 1);
  const i64 window = config.predictor.window;
  const i64 action_wide = config.action.mlp_scale * config.action.output;
  if (!from_latents_) {
    if (config.encoder.of_vectors()) {
      vector_ = take_vector_encoder(arena, config.encoder, all, precision_);
    } else {
      encoder_ = take_encoder(arena, config.encoder, all, precision_, kept_);
    }
    projector_ = take_head(arena, config.projector, all, precision_);
  }
  emb_ = arena.take<float, 2>({all, width_});
  action_ = arena.take<float, 2>({kept, config.action.input});
  smooth_ = arena.take<float, 2>({kept, config.action.smoothed});
  action_wide_ = arena.take<float, 2>({kept, action_wide});
  action_active_ = arena.take<float, 2>({kept, action_wide});
  action_emb_ = arena.take<float, 2>({kept, config.action.output});
  passes_.assign(static_cast<std::size_t>(steps_), {});
  for (i64 step = 0; step < steps_; ++step) {
    Pass& pass = passes_[static_cast<std::size_t>(step)];
    // the first pass sees all it can, a later one what precedes the frame it adds
    pass.seen = step == 0 ? std::min(window, frames_ - 1) : std::min(window, context_ + step);
    pass.first = step == 0 ? 0 : context_ + step - pass.seen;
    const i64 rows = windows_ * pass.seen;
    if (step > 0) pass.latents = arena.take<float, 3>({windows_, pass.seen, width_});
    // without a rollout the first pass uses every action
    pass.condition = steps_ == 1 ? action_emb_ : arena.take<float, 2>({rows, config.action.output});
    pass.predictor = take_predictor(arena, config.predictor, windows_, pass.seen, precision_);
    pass.pred_proj = take_head(arena, config.pred_proj, rows, precision_);
    pass.pred = arena.take<float, 3>({windows_, pass.seen, width_});
    if (steps_ > 1) pass.dpred = arena.take<float, 3>({windows_, pass.seen, width_});
    pass.dpredicted = arena.take<float, 2>({rows, config.predictor.output});
  }
  rolled_ = arena.take<float, 3>({windows_, steps_ - 1, width_});
  demb_ = arena.take<float, 2>({all, width_});
  if (!from_latents_) dcls_ = arena.take<float, 2>({all, config.encoder.hidden});
  if (steps_ > 1) daction_emb_ = arena.take<float, 2>({kept, config.action.output});
  daction_wide_ = arena.take<float, 2>({kept, action_wide});
  dsmooth_ = arena.take<float, 2>({kept, config.action.smoothed});
}

View<float, 3> TrainingState::newest(View<float, 3> of_pass, std::size_t index) const {
  const i64 last = index == 0 ? context_ : of_pass.size(1);
  return of_pass.slice(1, last - 1, last);
}

// Pass `index` of the predictor: latents of the context, then what the passes before have
// predicted.
void TrainingState::predict(Context& ctx, const Config& config, const Tensors& tensors,
                            std::size_t index) {
  Pass& pass = passes_[index];
  View<const float, 3> latents = emb().slice(1, 0, pass.seen);
  if (index > 0) {
    const i64 given = std::max<i64>(0, context_ - pass.first);
    if (given > 0) {
      copy(ctx, emb().slice(1, pass.first, pass.first + given), pass.latents.slice(1, 0, given));
    }
    for (i64 at = given; at < pass.seen; ++at) {
      const auto made_by = static_cast<std::size_t>(pass.first + at - context_);
      copy(ctx, newest(passes_[made_by].pred, made_by), pass.latents.slice(1, at, at + 1));
    }
    latents = pass.latents;
  }
  if (passes_.size() > 1) {
    const i64 width = config.action.output;
    copy(ctx,
         action_emb_.reshaped<3>({windows_, frames_ - 1, width})
             .slice(1, pass.first, pass.first + pass.seen),
         pass.condition.reshaped<3>({windows_, pass.seen, width}));
  }
  predictor_forward(ctx, config.predictor, tensors.predictor,
                    predictor_dropout(config.predictor, mode_, index), latents, pass.condition,
                    pass.predictor);
  head_forward(ctx, config.pred_proj, tensors.pred_proj, mode_.training,
               mode_.share.times(pass.seen), pass.predictor.output, pass.pred_proj,
               pass.pred.as_rows());
}

void TrainingState::predict_backward(Context& ctx, const Config& config, const Tensors& tensors,
                                     const Tensors& gradient, std::size_t index,
                                     View<const float, 2> dpred) {
  Pass& pass = passes_[index];
  head_backward(ctx, config.pred_proj, tensors.pred_proj, gradient.pred_proj,
                mode_.share.times(pass.seen), pass.predictor.output, pass.pred_proj, dpred,
                pass.dpredicted);
  predictor_backward(ctx, config.predictor, tensors.predictor, gradient.predictor,
                     predictor_dropout(config.predictor, mode_, index), pass.condition,
                     pass.dpredicted, pass.predictor);

  // to the frames it saw: a latent of the encoder, or what an earlier pass has predicted
  const View<float, 3> dlatents = pass.predictor.dplaced.reshaped<3>({windows_, pass.seen, width_});
  const View<float, 3> demb = demb_.reshaped<3>({windows_, frames_, width_});
  const i64 given = index == 0 ? pass.seen : std::max<i64>(0, context_ - pass.first);
  if (given > 0) {
    add_to(ctx, dlatents.slice(1, 0, given), demb.slice(1, pass.first, pass.first + given));
  }
  for (i64 at = given; at < pass.seen; ++at) {
    const auto made_by = static_cast<std::size_t>(pass.first + at - context_);
    add_to(ctx, dlatents.slice(1, at, at + 1), newest(passes_[made_by].dpred, made_by));
  }
  if (passes_.size() > 1) {
    const i64 width = config.action.output;
    add_to(ctx, pass.predictor.dcondition.reshaped<3>({windows_, pass.seen, width}),
           daction_emb_.reshaped<3>({windows_, frames_ - 1, width})
               .slice(1, pass.first, pass.first + pass.seen));
  }
}

void TrainingState::imagine(Context& ctx, const Config& config, const Tensors& tensors,
                            View<const float, 3> action) {
  const ActionEncoder& encoder = tensors.action;
  const i64 numbers = config.action.input;
  check(action.size(0) == windows_ && action.size(1) == frames_ && action.size(2) == numbers,
        "training: actions are ", action.shape(), ", needed (", windows_, ", ", frames_, ", ",
        numbers, ")");
  // all blocks of a window but the last, which leads out of it; what is not a number counts as 0
  copy_numbers(ctx, action.slice(1, 0, frames_ - 1),
               action_.reshaped<3>({windows_, frames_ - 1, numbers}));
  nn::dense(ctx, precision_, encoder.smooth, action_, smooth_);
  nn::dense(ctx, precision_, encoder.up, smooth_, action_wide_);
  activate(ctx, Activation::silu, action_wide_.flat(), action_active_.flat());
  nn::dense(ctx, precision_, encoder.down, action_active_, action_emb_);

  for (std::size_t i = 0; i < passes_.size(); ++i) {
    predict(ctx, config, tensors, i);
    if (i == 0) continue;
    const i64 at = static_cast<i64>(i) - 1;
    copy(ctx, newest(passes_[i].pred, i), rolled_.slice(1, at, at + 1));
  }
}

View<float, 2> TrainingState::daction_emb() const {
  return passes_.size() > 1 ? daction_emb_ : passes_[0].predictor.dcondition;
}

void forward(Context& ctx, Weights& weights, TrainingState& state, const PassMode& mode,
             View<const u8, 5> pixels, View<const float, 3> action,
             View<const float, 3> observations) {
  forward(ctx, weights.config, weights.tensors, state, mode, pixels, action, observations);
  if (mode.training) ++weights.batches_tracked;
}

void forward(Context& ctx, const Config& config, const Tensors& tensors, TrainingState& state,
             const PassMode& mode, View<const u8, 5> pixels, View<const float, 3> action,
             View<const float, 3> observations) {
  const i64 windows = state.windows_, frames = state.frames_;
  const bool vectors = config.encoder.of_vectors();
  check(vectors || (pixels.size(0) == windows && pixels.size(1) == frames && pixels.size(4) == 3),
        "training: pixels are ", pixels.shape(), ", needed (", windows, ", ", frames, ", H, W, 3)");
  check(!vectors || (observations.size(0) == windows && observations.size(1) == frames &&
                     observations.size(2) == config.encoder.vector.inputs),
        "training: observations are ", observations.shape(), ", needed (", windows, ", ", frames,
        ", ", config.encoder.vector.inputs, ")");
  check(!state.from_latents_, "training: this state is for passes from latents");
  state.mode_ = mode;

  if (vectors) {
    vector_forward(ctx, tensors.encoder.vector, observations.as_rows(), state.vector_);
  } else {
    encoder_forward(ctx, config.encoder, tensors.encoder,
                    pixels.reshaped<4>({windows * frames, pixels.size(2), pixels.size(3), 3}),
                    state.encoder_);
  }
  head_forward(ctx, config.projector, tensors.projector, mode.training, mode.share.times(frames),
               state.encoded(), state.projector_, state.emb_);
  state.imagine(ctx, config, tensors, action);
}

void forward_from_latents(Context& ctx, Weights& weights, TrainingState& state,
                          const PassMode& mode, View<const float, 3> latents,
                          View<const float, 3> action) {
  forward_from_latents(ctx, weights.config, weights.tensors, state, mode, latents, action);
  if (mode.training) ++weights.batches_tracked;
}

void forward_from_latents(Context& ctx, const Config& config, const Tensors& tensors,
                          TrainingState& state, const PassMode& mode, View<const float, 3> latents,
                          View<const float, 3> action) {
  check(state.from_latents_, "training: this state is for passes from pixels");
  check(latents.sizes() == state.emb().sizes(), "training: latents are ", latents.shape(),
        ", needed ", state.emb().shape());
  state.mode_ = mode;
  copy(ctx, latents, state.emb_.reshaped<3>({state.windows_, state.frames_, state.width_}));
  state.imagine(ctx, config, tensors, action);
}

void backward(Context& ctx, const Weights& weights, TrainingState& state, const LossGradient& loss,
              const Tensors& gradient) {
  backward(ctx, weights.config, weights.tensors, state, loss, gradient);
}

void backward(Context& ctx, const Config& config, const Tensors& tensors, TrainingState& state,
              const LossGradient& loss, const Tensors& gradient) {
  backward_to_encoder(ctx, config, tensors, state, loss, gradient);
  backward_encoder(ctx, config, tensors, state, gradient);
}

void backward_to_encoder(Context& ctx, const Config& config, const Tensors& tensors,
                         TrainingState& state, const LossGradient& loss, const Tensors& gradient) {
  check(state.mode_.training, "backward: the last forward pass was not a training pass");
  check(loss.emb.sizes() == state.emb().sizes() && loss.pred.sizes() == state.pred().sizes(),
        "backward: gradients are ", loss.emb.shape(), " and ", loss.pred.shape(), ", needed ",
        state.emb().shape(), " and ", state.pred().shape());
  const std::size_t passes = state.passes_.size();
  check(passes == 1 || loss.rolled.sizes() == state.rolled().sizes(),
        "backward: the rollout's gradient is ", loss.rolled.shape(), ", needed ",
        state.rolled().shape());

  // a latent is used by the loss and by every pass that saw it
  copy(ctx, loss.emb, state.demb_.reshaped<3>({state.windows_, state.frames_, state.width_}));
  if (passes == 1) {
    state.predict_backward(ctx, config, tensors, gradient, 0, loss.pred.as_rows());
  } else {
    fill(ctx, 0.0f, state.daction_emb_.flat());
    copy(ctx, loss.pred, state.passes_[0].dpred);
    for (std::size_t i = 1; i < passes; ++i) {
      const i64 at = static_cast<i64>(i) - 1;
      fill(ctx, 0.0f, state.passes_[i].dpred.flat());
      copy(ctx, loss.rolled.slice(1, at, at + 1), state.newest(state.passes_[i].dpred, i));
    }
    for (std::size_t i = passes; i-- > 0;) {
      state.predict_backward(ctx, config, tensors, gradient, i, state.passes_[i].dpred.as_rows());
    }
  }

  const ActionEncoder& action = tensors.action;
  const ActionEncoder& daction = gradient.action;
  nn::dense_backward(ctx, state.precision_, action.down, daction.down, state.action_active_,
                     state.daction_emb(), state.daction_wide_);
  activate_backward(ctx, Activation::silu, state.action_wide_.flat(), state.daction_wide_.flat(),
                    state.daction_wide_.flat());
  nn::dense_backward(ctx, state.precision_, action.up, daction.up, state.smooth_,
                     state.daction_wide_, state.dsmooth_);
  nn::dense_backward(ctx, state.precision_, action.smooth, daction.smooth, state.action_,
                     state.dsmooth_, View<float, 2>());

  if (state.from_latents_) return;
  head_backward(ctx, config.projector, tensors.projector, gradient.projector,
                state.mode_.share.times(state.frames_), state.encoded(), state.projector_,
                state.demb_, state.dcls_);
}

void backward_encoder(Context& ctx, const Config& config, const Tensors& tensors,
                      TrainingState& state, const Tensors& gradient) {
  if (state.from_latents_) return;
  if (config.encoder.of_vectors()) {
    vector_backward(ctx, tensors.encoder.vector, gradient.encoder.vector, state.dcls_,
                    state.vector_);
  } else {
    encoder_backward(ctx, config.encoder, tensors.encoder, gradient.encoder, state.dcls_,
                     state.encoder_);
  }
}

}  // namespace orrery::lewm
