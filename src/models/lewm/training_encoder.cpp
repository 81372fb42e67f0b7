#include "models/lewm/training_encoder.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "nn/attention.h"
#include "ops/elementwise.h"
#include "ops/image.h"
#include "ops/layer_norm.h"
#include "ops/linear_attention.h"
#include "ops/strided.h"

namespace orrery::lewm {

namespace {

// queries, keys or values inside the joint projection: part 0, 1 or 2, for the first `tokens`
// tokens
template <typename T>
View<T, 4> part_of(View<T, 2> qkv, i64 part, const EncoderConfig& config, i64 frames,
                   i64 tokens_there, i64 tokens) {
  const i64 row = 3 * config.hidden;
  return View<T, 4>(qkv.data() + part * config.hidden,
                    {frames, tokens, config.heads, config.head_dim()},
                    {tokens_there * row, row, config.head_dim(), 1});
}

template <typename T>
View<T, 4> heads_of(View<T, 2> rows, const EncoderConfig& config, i64 frames, i64 tokens) {
  return rows.template reshaped<4>({frames, tokens, config.heads, config.head_dim()});
}

// the first `queries` tokens of every frame, as rows: all of them, or CLS alone
template <typename T>
View<T, 2> query_rows(View<T, 2> rows, i64 tokens, i64 queries) {
  ORRERY_ASSERT(queries == tokens || queries == 1);
  if (queries == tokens) return rows;
  return View<T, 2>(rows.data(), {rows.size(0) / tokens, rows.size(1)},
                    {tokens * rows.stride(0), 1});
}

template <typename T>
View<const T, 2> read_only(View<T, 2> rows) {
  return rows;
}

// some outputs of a layer
nn::Dense outputs_of(const nn::Dense& layer, i64 begin, i64 end) {
  return {layer.weight.slice(0, begin, end),
          layer.bias ? layer.bias.slice(0, begin, end) : layer.bias};
}

nn::FeedForward feed_forward_of(const EncoderLayer& layer) {
  return {layer.after, layer.up, layer.down};
}

float attention_scale(const EncoderConfig& config) {
  return 1.0f / std::sqrt(static_cast<float>(config.head_dim()));
}

// middle = x's queries + output(attention(q, k, v of normed rows)); normed rows, q, k, v and what
// attention makes of them are kept in T
template <typename T>
void attention_forward(Context& ctx, const EncoderConfig& config, const EncoderLayer& layer,
                       const TrainingEncoderState& encoder, View<float, 2> x, View<T, 2> kept,
                       View<T, 2> qkv, View<T, 2> attended, EncoderLayerState& state) {
  const i64 dim = config.hidden, frames = encoder.frames, tokens = encoder.tokens;
  const i64 queries = state.queries;
  layer_norm(ctx, x, layer.before.weight, layer.before.bias, config.norm_eps, kept, state.mean,
             state.rstd);
  const View<const T, 2> normed = kept;
  if (queries == tokens) {
    nn::dense(ctx, encoder.precision, layer.qkv, normed, qkv);
  } else {
    nn::dense(ctx, encoder.precision, outputs_of(layer.qkv, dim, 3 * dim), normed,
              qkv.slice(1, dim, 3 * dim));
    nn::dense(ctx, encoder.precision, outputs_of(layer.qkv, 0, dim),
              query_rows(normed, tokens, queries),
              query_rows(qkv, tokens, queries).slice(1, 0, dim));
  }
  const auto q = part_of(read_only(qkv), 0, config, frames, tokens, queries);
  const auto k = part_of(read_only(qkv), 1, config, frames, tokens, tokens);
  const auto v = part_of(read_only(qkv), 2, config, frames, tokens, tokens);
  const View<T, 4> out = heads_of(attended, config, frames, queries);
  if (!state.linear) {
    nn::attention(ctx, encoder.precision, q, k, v, attention_scale(config), false, out,
                  state.log_sum);
  } else if constexpr (std::is_same_v<T, float>) {
    linear_attention(ctx, q, k, v, out);
  }
  nn::dense(ctx, encoder.precision, layer.output, read_only(attended), state.middle,
            query_rows(x, tokens, queries));
}

// dy, slopes of middle, to those of the normed rows, in encoder.dnarrow
template <typename T>
void attention_backward(Context& ctx, const EncoderConfig& config, const EncoderLayer& layer,
                        const EncoderLayer& gradient, View<const T, 2> normed, View<T, 2> qkv,
                        View<T, 2> attended, const EncoderLayerState& state,
                        View<const float, 2> dy, TrainingEncoderState& encoder) {
  const i64 dim = config.hidden, frames = encoder.frames, tokens = encoder.tokens;
  const i64 queries = state.queries;
  // scratch, taken at its size in floats
  const View<T, 2> dattended(reinterpret_cast<T*>(encoder.dnarrow.data()), {frames * queries, dim});
  const View<T, 2> dqkv(reinterpret_cast<T*>(encoder.dwide.data()), {frames * tokens, 3 * dim});
  nn::dense_backward(ctx, encoder.precision, layer.output, gradient.output, read_only(attended), dy,
                     dattended);
  const auto part = [&](auto joint, i64 index) {
    return part_of(joint, index, config, frames, tokens, index == 0 ? queries : tokens);
  };
  const auto q = part(read_only(qkv), 0), k = part(read_only(qkv), 1), v = part(read_only(qkv), 2);
  const auto out = heads_of(read_only(attended), config, frames, queries);
  const auto dout = heads_of(read_only(dattended), config, frames, queries);
  if (!state.linear) {
    nn::attention_backward(ctx, encoder.precision, q, k, v, attention_scale(config), false, out,
                           state.log_sum, dout, part(dqkv, 0), part(dqkv, 1), part(dqkv, 2));
  } else if constexpr (std::is_same_v<T, float>) {
    linear_attention_backward(ctx, q, k, v, out, dout, part(dqkv, 0), part(dqkv, 1), part(dqkv, 2));
  }

  const View<float, 2> dnormed = encoder.dnarrow;
  if (queries == tokens) {
    nn::dense_backward(ctx, encoder.precision, layer.qkv, gradient.qkv, normed, read_only(dqkv),
                       dnormed);
  } else {
    nn::dense_backward(ctx, encoder.precision, outputs_of(layer.qkv, dim, 3 * dim),
                       outputs_of(gradient.qkv, dim, 3 * dim), normed,
                       read_only(dqkv.slice(1, dim, 3 * dim)), dnormed);
    nn::dense_backward(ctx, encoder.precision, outputs_of(layer.qkv, 0, dim),
                       outputs_of(gradient.qkv, 0, dim), query_rows(normed, tokens, queries),
                       read_only(query_rows(dqkv, tokens, queries).slice(1, 0, dim)),
                       query_rows(dnormed, tokens, queries), true);
  }
}

void layer_forward(Context& ctx, const EncoderConfig& config, const EncoderLayer& layer,
                   const TrainingEncoderState& encoder, View<float, 2> x,
                   EncoderLayerState& state) {
  if (state.qkv_bf16) {
    attention_forward(ctx, config, layer, encoder, x, state.normed_bf16, state.qkv_bf16,
                      state.attended_bf16, state);
  } else {
    attention_forward(ctx, config, layer, encoder, x, state.normed, state.qkv, state.attended,
                      state);
  }
  nn::feed_forward(ctx, encoder.precision, feed_forward_of(layer), config.norm_eps, {},
                   state.middle, state.feed_forward, state.middle, state.output);
}

// dx [F N, D] holds the gradient of the layer's output in its query rows and becomes that of x
void layer_backward(Context& ctx, const EncoderConfig& config, const EncoderLayer& layer,
                    const EncoderLayer& gradient, View<float, 2> x, const EncoderLayerState& state,
                    TrainingEncoderState& encoder) {
  const i64 rows = encoder.frames * state.queries;
  const View<float, 2> dy = query_rows(encoder.dx, encoder.tokens, state.queries);
  const View<float, 2> dnarrow(encoder.dnarrow.data(), {rows, config.hidden});
  const View<float, 2> dwide(encoder.dwide.data(), {rows, config.mlp});
  nn::feed_forward_backward(ctx, encoder.precision, feed_forward_of(layer),
                            feed_forward_of(gradient), {}, state.middle, state.feed_forward, dy,
                            true, dy, dnarrow, dwide);
  if (state.qkv_bf16) {
    attention_backward(ctx, config, layer, gradient, read_only(state.normed_bf16), state.qkv_bf16,
                       state.attended_bf16, state, dy, encoder);
  } else {
    attention_backward(ctx, config, layer, gradient, read_only(state.normed), state.qkv,
                       state.attended, state, dy, encoder);
  }
  layer_norm_backward(ctx, x, layer.before.weight, state.mean, state.rstd, encoder.dnarrow, true,
                      encoder.dx, gradient.before.weight, gradient.before.bias);
}

}  // namespace

TrainingEncoderState take_encoder(Arena& arena, const EncoderConfig& config, i64 frames,
                                  Precision precision, Precision kept) {
  check(kept == Precision::f32 || precision == Precision::bf16,
        "encoder: rows kept as bf16 need products of bf16");
  TrainingEncoderState state;
  state.precision = precision;
  const i64 dim = config.hidden;
  state.frames = frames;
  state.tokens = config.tokens();
  const i64 rows = frames * state.tokens;
  state.patches = arena.take<float, 3>({frames, state.tokens, config.patch_inputs()});
  state.table = arena.take<float, 2>({state.tokens, dim});
  state.embedded = arena.take<float, 2>({rows, dim});
  for (i64 i = 0; i < config.layers; ++i) {
    EncoderLayerState layer;
    layer.queries = i + 1 == config.layers ? 1 : state.tokens;
    const i64 query_count = frames * layer.queries;
    layer.mean = arena.take<float, 1>({rows});
    layer.rstd = arena.take<float, 1>({rows});
    layer.linear = config.linear(i);
    if (kept == Precision::bf16 && !layer.linear) {
      layer.normed_bf16 = arena.take<bf16, 2>({rows, dim});
      layer.qkv_bf16 = arena.take<bf16, 2>({rows, 3 * dim});
      layer.attended_bf16 = arena.take<bf16, 2>({query_count, dim});
    } else {
      layer.normed = arena.take<float, 2>({rows, dim});
      layer.qkv = arena.take<float, 2>({rows, 3 * dim});
      layer.attended = arena.take<float, 2>({query_count, dim});
    }
    if (!layer.linear) layer.log_sum = arena.take<float, 3>({frames, config.heads, layer.queries});
    layer.middle = arena.take<float, 2>({query_count, dim});
    layer.feed_forward = nn::take_feed_forward(arena, query_count, dim, config.mlp, precision);
    layer.output = arena.take<float, 2>({query_count, dim});
    state.layers.push_back(layer);
  }
  state.cls = arena.take<float, 2>({frames, dim});
  state.mean = arena.take<float, 1>({frames});
  state.rstd = arena.take<float, 1>({frames});
  state.dx = arena.take<float, 2>({rows, dim});
  state.dnarrow = arena.take<float, 2>({rows, dim});
  state.dwide = arena.take<float, 1>({rows * std::max(config.mlp, 3 * dim)});
  return state;
}

void encoder_forward(Context& ctx, const EncoderConfig& config, const Encoder& encoder,
                     View<const u8, 4> pixels, TrainingEncoderState& state) {
  const i64 dim = config.hidden, frames = state.frames, tokens = state.tokens;
  const i64 leading = config.leading();
  const i64 grid_h = pixels.size(1) / config.patch, grid_w = pixels.size(2) / config.patch;
  check(pixels.size(0) == frames, "encoder: ", pixels.size(0),
        " frames came, the state has room for ", frames);
  check(pixels.size(1) == pixels.size(2) && grid_h * grid_w == tokens - leading,
        "encoder: frames of ", pixels.size(1), "x", pixels.size(2), " have ", grid_h * grid_w,
        " patches; training needs squares with ", tokens - leading);

  patch_rows_from_bytes(ctx, pixels, config.patch, state.patches.slice(1, leading, tokens));
  // the table: position and CLS or meta token, or position and the patch projection's bias
  const View<const float, 3> bias(encoder.patch.bias.data(), {1, tokens - leading, dim}, {0, 0, 1});
  const View<float, 3> table = state.table.reshaped<3>({1, tokens, dim});
  copy(ctx, encoder.positions.reshaped<3>({1, tokens, dim}), table);
  add_to(ctx, encoder.cls.reshaped<3>({1, 1, dim}), table.slice(1, 0, 1));
  if (leading > 1) {
    add_to(ctx, encoder.meta.reshaped<3>({1, leading - 1, dim}), table.slice(1, 1, leading));
  }
  add_to(ctx, bias, table.slice(1, leading, tokens));
  copy(ctx, View<const float, 3>(state.table.data(), {frames, tokens, dim}, {0, dim, 1}),
       state.embedded.reshaped<3>({frames, tokens, dim}));
  nn::dense(ctx, state.precision, {encoder.patch.weight, {}}, state.patches.as_rows(),
            state.embedded, state.embedded);

  View<float, 2> x = state.embedded;
  for (std::size_t i = 0; i < state.layers.size(); ++i) {
    layer_forward(ctx, config, encoder.layers[i], state, x, state.layers[i]);
    x = state.layers[i].output;
  }
  layer_norm(ctx, x, encoder.norm.weight, encoder.norm.bias, config.norm_eps, state.cls, state.mean,
             state.rstd);
}

void encoder_backward(Context& ctx, const EncoderConfig& config, const Encoder& encoder,
                      const Encoder& gradient, View<const float, 2> dcls,
                      TrainingEncoderState& state) {
  const i64 dim = config.hidden, frames = state.frames, tokens = state.tokens;
  const i64 leading = config.leading();
  // only CLS has a gradient after the last layer
  fill(ctx, 0.0f, state.dx.flat());
  layer_norm_backward(ctx, state.layers.back().output, encoder.norm.weight, state.mean, state.rstd,
                      dcls, false, query_rows(state.dx, tokens, 1), gradient.norm.weight,
                      gradient.norm.bias);
  for (std::size_t i = state.layers.size(); i-- > 0;) {
    const View<float, 2> x = i == 0 ? state.embedded : state.layers[i - 1].output;
    layer_backward(ctx, config, encoder.layers[i], gradient.layers[i], x, state.layers[i], state);
  }

  // sums over frames give positions, CLS, meta tokens and bias; the zero rows of the tokens that
  // are no patches add nothing to the weight
  nn::dense_backward(ctx, state.precision, {encoder.patch.weight, {}}, {gradient.patch.weight, {}},
                     state.patches.as_rows(), state.dx, View<float, 2>());
  const View<float, 2> sums = state.table;
  fill(ctx, 0.0f, sums.flat());
  add_column_sums(ctx, state.dx.reshaped<2>({frames, tokens * dim}), sums.flat());
  add_scaled(ctx, 1.0f, sums.flat(), gradient.positions.flat());
  add_scaled(ctx, 1.0f, sums[0], gradient.cls);
  if (leading > 1) add_scaled(ctx, 1.0f, sums.slice(0, 1, leading).flat(), gradient.meta.flat());
  add_column_sums(ctx, sums.slice(0, leading, tokens), gradient.patch.bias);
}

}  // namespace orrery::lewm
