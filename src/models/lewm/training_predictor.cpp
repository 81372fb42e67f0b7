#include "models/lewm/training_predictor.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/layer_norm.h"
#include "ops/modulate.h"
#include "ops/strided.h"

namespace orrery::lewm {

namespace {

constexpr float kPlainEps = 1e-6f;  // the norms without affine
constexpr float kNormEps = 1e-5f;   // the affine ones behind them

// order of the parts of a modulation row
enum Part { shift_attention, scale_attention, gate_attention, shift_mlp, scale_mlp, gate_mlp };

// where dropout is applied in a layer
enum Place { on_probabilities, on_attention, on_wide, on_mlp, on_embedding };

// elements of a mask that one window has
i64 elements_of_window(const PredictorConfig& config, i64 frames, Place place) {
  switch (place) {
    case on_probabilities:
      return config.heads * frames * frames;
    case on_wide:
      return frames * config.mlp;
    case on_embedding:
      return frames * config.input;
    default:
      return frames * config.hidden;
  }
}

constexpr std::size_t kPlaces = 8;  // of a layer, of which some are not used

Dropout mask_of(const PredictorDropout& drop, const PredictorConfig& config, i64 frames,
                std::size_t layer, Place place) {
  const std::size_t number = kPlaces * layer + place;
  return {.rate = place == on_embedding ? drop.embedding_rate : drop.rate,
          .seed = drop.seed,
          .stream = mask_stream(drop.step, static_cast<i64>(number)),
          .first = drop.first_window * elements_of_window(config, frames, place),
          .stream_there = drop.streams == nullptr ? nullptr : drop.streams + number};
}

View<float, 4> part_of(View<float, 2> qkv, i64 part, const PredictorConfig& config, i64 windows,
                       i64 frames) {
  const i64 row = 3 * config.inner();
  return View<float, 4>(qkv.data() + part * config.inner(),
                        {windows, frames, config.heads, config.head_dim},
                        {frames * row, row, config.head_dim, 1});
}

View<float, 4> heads_of(View<float, 2> rows, const PredictorConfig& config, i64 windows,
                        i64 frames) {
  return rows.reshaped<4>({windows, frames, config.heads, config.head_dim});
}

// rows as one batch, for the operations on [batch, tokens, dim]
View<float, 3> batch_of(View<float, 2> rows) {
  return View<float, 3>(rows.data(), {1, rows.size(0), rows.size(1)},
                        {rows.size(0) * rows.stride(0), rows.stride(0), 1});
}

View<float, 3> modulation_part(View<float, 2> modulation, Part part) {
  const i64 dim = modulation.size(1) / 6;
  return batch_of(modulation.slice(1, part * dim, (part + 1) * dim));
}

nn::FeedForward feed_forward_of(const PredictorLayer& layer) {
  return {layer.mlp_norm, layer.up, layer.down};
}

nn::FeedForwardDropout feed_forward_masks(const PredictorDropout& drop,
                                          const PredictorConfig& config, i64 frames,
                                          std::size_t layer) {
  return {mask_of(drop, config, frames, layer, on_wide),
          mask_of(drop, config, frames, layer, on_mlp)};
}

float attention_scale(const PredictorConfig& config) {
  return 1.0f / std::sqrt(static_cast<float>(config.head_dim));
}

PredictorLayerState take_layer(Arena& arena, const PredictorConfig& config, i64 windows,
                               i64 frames) {
  const i64 rows = windows * frames, dim = config.hidden;
  const auto narrow = [&] { return arena.take<float, 2>({rows, dim}); };
  const auto per_row = [&] { return arena.take<float, 1>({rows}); };
  PredictorLayerState state;
  state.modulation = arena.take<float, 2>({rows, 6 * dim});
  state.plain = narrow();
  state.modulated = narrow();
  state.normed = narrow();
  state.plain_mean = per_row();
  state.plain_rstd = per_row();
  state.mean = per_row();
  state.rstd = per_row();
  state.qkv = arena.take<float, 2>({rows, 3 * config.inner()});
  state.attended = arena.take<float, 2>({rows, config.inner()});
  state.log_sum = arena.take<float, 3>({windows, config.heads, frames});
  state.attention_branch = config.projects_attention() ? narrow() : state.attended;
  state.middle = narrow();
  state.mlp_plain = narrow();
  state.mlp_modulated = narrow();
  state.mlp_plain_mean = per_row();
  state.mlp_plain_rstd = per_row();
  state.feed_forward = nn::take_feed_forward(arena, rows, dim, config.mlp);
  state.mlp_branch = narrow();
  state.output = narrow();
  return state;
}

void attention_forward(Context& ctx, const PredictorConfig& config, const PredictorState& predictor,
                       const Dropout& mask, PredictorLayerState& state) {
  const i64 windows = predictor.windows, frames = predictor.frames;
  const auto q = part_of(state.qkv, 0, config, windows, frames);
  const auto k = part_of(state.qkv, 1, config, windows, frames);
  const auto v = part_of(state.qkv, 2, config, windows, frames);
  const auto out = heads_of(state.attended, config, windows, frames);
  if (mask.rate > 0) {
    attention_dropout(ctx, mask, q, k, v, attention_scale(config), true, out);
  } else {
    attention(ctx, q, k, v, attention_scale(config), true, out, state.log_sum);
  }
}

void attention_back(Context& ctx, const PredictorConfig& config, PredictorState& predictor,
                    const Dropout& mask, const PredictorLayerState& state,
                    View<float, 2> dattended) {
  const i64 windows = predictor.windows, frames = predictor.frames;
  const auto q = part_of(state.qkv, 0, config, windows, frames);
  const auto k = part_of(state.qkv, 1, config, windows, frames);
  const auto v = part_of(state.qkv, 2, config, windows, frames);
  const auto dq = part_of(predictor.dqkv, 0, config, windows, frames);
  const auto dk = part_of(predictor.dqkv, 1, config, windows, frames);
  const auto dv = part_of(predictor.dqkv, 2, config, windows, frames);
  const auto dout = heads_of(dattended, config, windows, frames);
  if (mask.rate > 0) {
    attention_dropout_backward(ctx, mask, q, k, v, attention_scale(config), true, dout, dq, dk, dv);
  } else {
    attention_backward(ctx, q, k, v, attention_scale(config), true,
                       heads_of(state.attended, config, windows, frames), state.log_sum, dout, dq,
                       dk, dv);
  }
}

void layer_forward(Context& ctx, const PredictorConfig& config, const PredictorLayer& layer,
                   const PredictorDropout& drop, std::size_t index, View<float, 2> x,
                   const PredictorState& predictor, PredictorLayerState& state) {
  nn::dense(ctx, predictor.precision, layer.modulation, predictor.active, state.modulation);
  const auto part = [&](Part which) { return modulation_part(state.modulation, which); };

  // x + gate * attention(norm(modulate(norm(x))))
  layer_norm(ctx, x, {}, {}, kPlainEps, state.plain, state.plain_mean, state.plain_rstd);
  modulate(ctx, batch_of(state.plain), part(shift_attention), part(scale_attention),
           batch_of(state.modulated));
  layer_norm(ctx, state.modulated, layer.attention_norm.weight, layer.attention_norm.bias, kNormEps,
             state.normed, state.mean, state.rstd);
  nn::dense(ctx, predictor.precision, {layer.qkv, {}}, state.normed, state.qkv);
  attention_forward(ctx, config, predictor,
                    mask_of(drop, config, predictor.frames, index, on_probabilities), state);
  if (layer.out.weight) {
    nn::dense(ctx, predictor.precision, layer.out, state.attended, state.attention_branch);
    // the official module has no dropout where it has no projection
    const Dropout mask = mask_of(drop, config, predictor.frames, index, on_attention);
    const View<float, 1> branch = state.attention_branch.flat();
    if (mask.rate > 0) dropout(ctx, mask, branch, branch);
  }
  gated_add(ctx, batch_of(x), part(gate_attention), batch_of(state.attention_branch),
            batch_of(state.middle));

  // the same around the MLP
  layer_norm(ctx, state.middle, {}, {}, kPlainEps, state.mlp_plain, state.mlp_plain_mean,
             state.mlp_plain_rstd);
  modulate(ctx, batch_of(state.mlp_plain), part(shift_mlp), part(scale_mlp),
           batch_of(state.mlp_modulated));
  nn::feed_forward(ctx, predictor.precision, feed_forward_of(layer), kNormEps,
                   feed_forward_masks(drop, config, predictor.frames, index), state.mlp_modulated,
                   state.feed_forward, {}, state.mlp_branch);
  gated_add(ctx, batch_of(state.middle), part(gate_mlp), batch_of(state.mlp_branch),
            batch_of(state.output));
}

// predictor.dx holds the gradient of the layer's output and becomes that of x
void layer_backward(Context& ctx, const PredictorConfig& config, const PredictorLayer& layer,
                    const PredictorLayer& gradient, const PredictorDropout& drop, std::size_t index,
                    View<float, 2> x, const PredictorLayerState& state, PredictorState& predictor) {
  const auto part = [&](Part which) { return modulation_part(state.modulation, which); };
  const auto dpart = [&](Part which) { return modulation_part(predictor.dmodulation, which); };
  const View<float, 2> dx = predictor.dx, dbranch = predictor.dbranch, dnarrow = predictor.dnarrow;

  gated_add_backward(ctx, part(gate_mlp), batch_of(state.mlp_branch), batch_of(dx), dpart(gate_mlp),
                     batch_of(dbranch));
  nn::feed_forward_backward(
      ctx, predictor.precision, feed_forward_of(layer), feed_forward_of(gradient),
      feed_forward_masks(drop, config, predictor.frames, index), state.mlp_modulated,
      state.feed_forward, dbranch, false, dbranch, dnarrow, predictor.dwide);
  modulate_backward(ctx, batch_of(state.mlp_plain), part(scale_mlp), batch_of(dbranch),
                    batch_of(dbranch), dpart(shift_mlp), dpart(scale_mlp));
  layer_norm_backward(ctx, state.middle, {}, state.mlp_plain_mean, state.mlp_plain_rstd, dbranch,
                      true, dx, {}, {});

  gated_add_backward(ctx, part(gate_attention), batch_of(state.attention_branch), batch_of(dx),
                     dpart(gate_attention), batch_of(dbranch));
  View<float, 2> dattended = dbranch;
  if (layer.out.weight) {
    const Dropout mask = mask_of(drop, config, predictor.frames, index, on_attention);
    if (mask.rate > 0) dropout(ctx, mask, dbranch.flat(), dbranch.flat());
    dattended = predictor.dattended;
    nn::dense_backward(ctx, predictor.precision, layer.out, gradient.out, state.attended, dbranch,
                       dattended);
  }
  attention_back(ctx, config, predictor,
                 mask_of(drop, config, predictor.frames, index, on_probabilities), state,
                 dattended);
  nn::dense_backward(ctx, predictor.precision, {layer.qkv, {}}, {gradient.qkv, {}}, state.normed,
                     predictor.dqkv, dnarrow);
  layer_norm_backward(ctx, state.modulated, layer.attention_norm.weight, state.mean, state.rstd,
                      dnarrow, false, dnarrow, gradient.attention_norm.weight,
                      gradient.attention_norm.bias);
  modulate_backward(ctx, batch_of(state.plain), part(scale_attention), batch_of(dnarrow),
                    batch_of(dnarrow), dpart(shift_attention), dpart(scale_attention));
  layer_norm_backward(ctx, x, {}, state.plain_mean, state.plain_rstd, dnarrow, true, dx, {}, {});

  nn::dense_backward(ctx, predictor.precision, layer.modulation, gradient.modulation,
                     predictor.active, predictor.dmodulation, predictor.dactive, true);
}

}  // namespace

i64 mask_count(const PredictorConfig& config) {
  return static_cast<i64>(kPlaces) * std::max<i64>(1, config.depth);
}

u64 mask_stream(u64 step, i64 number) {
  return mix(static_cast<u64>(Stream::dropout), mix(step, static_cast<u64>(number)));
}

PredictorState take_predictor(Arena& arena, const PredictorConfig& config, i64 windows, i64 frames,
                              Precision precision) {
  const i64 rows = windows * frames, dim = config.hidden;
  const auto narrow = [&] { return arena.take<float, 2>({rows, dim}); };
  PredictorState state;
  state.precision = precision;
  state.windows = windows;
  state.frames = frames;
  state.placed = arena.take<float, 2>({rows, config.input});
  state.entered = config.input == dim ? state.placed : narrow();
  if (config.input != dim) state.condition = narrow();
  state.active = narrow();
  for (i64 i = 0; i < config.depth; ++i) {
    state.layers.push_back(take_layer(arena, config, windows, frames));
  }
  state.normed = narrow();
  state.mean = arena.take<float, 1>({rows});
  state.rstd = arena.take<float, 1>({rows});
  state.output = config.output == dim ? state.normed : arena.take<float, 2>({rows, config.output});
  state.dx = narrow();
  state.dbranch = narrow();
  state.dnarrow = narrow();
  state.dactive = narrow();
  state.dwide = arena.take<float, 2>({rows, config.mlp});
  state.dmodulation = arena.take<float, 2>({rows, 6 * dim});
  state.dqkv = arena.take<float, 2>({rows, 3 * config.inner()});
  state.dattended = arena.take<float, 2>({rows, config.inner()});
  state.dplaced = config.input == dim ? state.dx : arena.take<float, 2>({rows, config.input});
  state.dcondition =
      config.input == dim ? state.dactive : arena.take<float, 2>({rows, config.input});
  return state;
}

void predictor_forward(Context& ctx, const PredictorConfig& config, const Predictor& predictor,
                       const PredictorDropout& drop, View<const float, 3> latents,
                       View<const float, 2> condition, PredictorState& state) {
  const i64 windows = state.windows, frames = state.frames, input = config.input;
  check(frames <= config.window, "predictor: windows of ", frames, " frames came, it sees ",
        config.window);
  const View<float, 3> placed = state.placed.reshaped<3>({windows, frames, input});
  copy(ctx, latents, placed);
  add_to(ctx,
         View<const float, 3>(predictor.positions.data(), {windows, frames, input}, {0, input, 1}),
         placed);
  const Dropout mask = mask_of(drop, config, frames, 0, on_embedding);
  if (mask.rate > 0) dropout(ctx, mask, state.placed.flat(), state.placed.flat());
  if (predictor.input.weight)
    nn::dense(ctx, state.precision, predictor.input, state.placed, state.entered);
  View<const float, 2> entering = condition;
  if (predictor.condition.weight) {
    nn::dense(ctx, state.precision, predictor.condition, condition, state.condition);
    entering = state.condition;
  }
  activate(ctx, Activation::silu, entering.flat(), state.active.flat());

  View<float, 2> x = state.entered;
  for (std::size_t i = 0; i < state.layers.size(); ++i) {
    layer_forward(ctx, config, predictor.layers[i], drop, i, x, state, state.layers[i]);
    x = state.layers[i].output;
  }
  layer_norm(ctx, x, predictor.norm.weight, predictor.norm.bias, kNormEps, state.normed, state.mean,
             state.rstd);
  if (predictor.output.weight)
    nn::dense(ctx, state.precision, predictor.output, state.normed, state.output);
}

void predictor_backward(Context& ctx, const PredictorConfig& config, const Predictor& predictor,
                        const Predictor& gradient, const PredictorDropout& drop,
                        View<const float, 2> condition, View<const float, 2> dout,
                        PredictorState& state) {
  const i64 windows = state.windows, frames = state.frames, input = config.input;
  View<const float, 2> dnormed = dout;
  if (predictor.output.weight) {
    nn::dense_backward(ctx, state.precision, predictor.output, gradient.output, state.normed, dout,
                       state.dnarrow);
    dnormed = state.dnarrow;
  }
  layer_norm_backward(ctx, state.layers.back().output, predictor.norm.weight, state.mean,
                      state.rstd, dnormed, false, state.dx, gradient.norm.weight,
                      gradient.norm.bias);
  fill(ctx, 0.0f, state.dactive.flat());
  for (std::size_t i = state.layers.size(); i-- > 0;) {
    const View<float, 2> x = i == 0 ? state.entered : state.layers[i - 1].output;
    layer_backward(ctx, config, predictor.layers[i], gradient.layers[i], drop, i, x,
                   state.layers[i], state);
  }

  const View<const float, 2> entering =
      predictor.condition.weight ? View<const float, 2>(state.condition) : condition;
  activate_backward(ctx, Activation::silu, entering.flat(), state.dactive.flat(),
                    state.dactive.flat());
  if (predictor.condition.weight) {
    nn::dense_backward(ctx, state.precision, predictor.condition, gradient.condition, condition,
                       state.dactive, state.dcondition);
    nn::dense_backward(ctx, state.precision, predictor.input, gradient.input, state.placed,
                       state.dx, state.dplaced);
  }
  const Dropout mask = mask_of(drop, config, frames, 0, on_embedding);
  if (mask.rate > 0) dropout(ctx, mask, state.dplaced.flat(), state.dplaced.flat());
  add_column_sums(ctx, state.dplaced.reshaped<2>({windows, frames * input}),
                  gradient.positions.slice(0, 0, frames).flat());
}

}  // namespace orrery::lewm
