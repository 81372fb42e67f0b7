#include "models/lewm/rollout.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "models/lewm/encode.h"
#include "ops/attention.h"
#include "ops/layer_norm.h"
#include "ops/modulate.h"

namespace orrery::lewm {

namespace {

// norms of the conditional blocks: the bare one before modulation, then the affine ones (PyTorch's
// default)
constexpr float kBareNormEps = 1e-6f;
constexpr float kAffineNormEps = 1e-5f;
// candidates per chunk at most: their modulations and keys (about 9 MB at the published size) still
// fit a shared cache
constexpr i64 kLargestChunk = 56;

void lay_out(Arena& arena, const Config& config, const RolloutSizes& sizes, i64 chunk,
             RolloutScratch& scratch) {
  const PredictorConfig& p = config.predictor;
  const ActionEncoderConfig& a = config.action;
  const i64 window = std::max(p.window, sizes.history);
  const i64 rows = window * chunk;
  const i64 blocks = sizes.blocks * chunk;
  scratch.actions = arena.take<float, 3>({sizes.blocks, chunk, a.input});
  scratch.latents = arena.take<float, 3>({sizes.blocks + 1, chunk, config.latent()});
  scratch.smoothed = arena.take<float, 2>({blocks, a.smoothed});
  scratch.wide = arena.take<float, 2>({blocks, a.mlp_scale * a.output});
  scratch.encoded = arena.take<float, 2>({blocks, a.output});
  scratch.condition = arena.take<float, 2>({blocks, p.hidden});
  scratch.modulation.resize(static_cast<std::size_t>(p.depth));
  scratch.qkv.resize(static_cast<std::size_t>(p.depth));
  for (auto& modulation : scratch.modulation) {
    modulation = arena.take<float, 3>({sizes.blocks, chunk, 6 * p.hidden});
  }
  for (auto& qkv : scratch.qkv) qkv = arena.take<float, 3>({window, chunk, 3 * p.inner()});
  scratch.positioned = arena.take<float, 2>({rows, p.input});
  scratch.stream = arena.take<float, 2>({rows, p.hidden});
  scratch.normed = arena.take<float, 2>({rows, p.hidden});
  scratch.attended = arena.take<float, 2>({rows, p.inner()});
  scratch.hidden = arena.take<float, 2>({rows, p.mlp});
  scratch.projected = arena.take<float, 2>({rows, p.output});
  scratch.head = arena.take<float, 2>({rows, config.pred_proj.hidden});
}

void run_action_encoder(Context& ctx, const Model& model, View<const float, 2> actions,
                        View<float, 2> smoothed, View<float, 2> wide, View<float, 2> encoded,
                        const Probe* probe) {
  linear(ctx, actions, model.smooth.weight, {.bias = model.smooth.bias}, smoothed);
  if (probe != nullptr) (*probe)("action_conv", -1, smoothed);
  linear(ctx, smoothed, model.action_up.weight,
         {.bias = model.action_up.bias, .activation = Activation::silu}, wide);
  linear(ctx, wide, model.action_down.weight, {.bias = model.action_down.bias}, encoded);
  if (probe != nullptr) (*probe)("act_emb", -1, encoded);
}

// One chunk of candidates on its way through the predictor.
class Chunk {
 public:
  Chunk(Context& ctx, const Model& model, RolloutScratch& scratch, i64 count, const Probe* probe)
      : ctx_(ctx), model_(model), scratch_(scratch), count_(count), probe_(probe) {}

  // Actions of `blocks` blocks, [blocks * count, A] in scratch, to every layer's modulation.
  void modulate_blocks(i64 blocks) {
    const PredictorConfig& p = model_.config().predictor;
    const i64 rows = blocks * count_;
    const auto encoded = head_of(scratch_.encoded, rows, scratch_.encoded.size(1));
    run_action_encoder(ctx_, model_, head_of(scratch_.actions, rows, model_.config().action.input),
                       head_of(scratch_.smoothed, rows, scratch_.smoothed.size(1)),
                       head_of(scratch_.wide, rows, scratch_.wide.size(1)), encoded, probe_);
    const auto condition = head_of(scratch_.condition, rows, p.hidden);
    if (probe_ != nullptr && model_.condition) {
      linear(ctx_, encoded, model_.condition.weight, {.bias = model_.condition.bias}, condition);
      see("predictor_cond_proj", -1, condition);
    }
    if (model_.condition) {
      linear(ctx_, encoded, model_.condition.weight,
             {.bias = model_.condition.bias, .activation = Activation::silu}, condition);
    } else {
      activate(ctx_, Activation::silu, encoded.flat(), condition.flat());
    }
    for (i64 layer = 0; layer < p.depth; ++layer) {
      const PackedDense& map = model_.predictor[at(layer)].modulation;
      const auto modulation = head_of(scratch_.modulation[at(layer)], rows, 6 * p.hidden);
      linear(ctx_, condition, map.weight, {.bias = map.bias}, modulation);
      see("predictor_block_modulation", layer, modulation);
    }
  }

  // Takes frames [first, last] of the window that starts at frame `left` through the predictor;
  // keys and values of [left, first) are still there. Writes pred_proj's result for the frames from
  // `wanted` on to out, time first.
  void advance(i64 left, i64 first, i64 last, i64 wanted, View<float, 2> out) {
    const PredictorConfig& p = model_.config().predictor;
    const i64 frames = last - first + 1;
    auto x = head_of(scratch_.stream, frames * count_, p.hidden);
    enter(left, first, frames, x);
    for (i64 layer = 0; layer < p.depth; ++layer) {
      // after the last layer's keys and values only the wanted frames matter
      const i64 from = layer + 1 == p.depth ? wanted : first;
      x = block(layer, left, first, last, from, x);
      see("predictor_block", layer, x);
    }
    const i64 rows = x.size(0);
    const auto normed = head_of(scratch_.normed, rows, p.hidden);
    const nn::Norm& norm = model_.weights().tensors.predictor.norm;
    layer_norm(ctx_, x, norm.weight, norm.bias, kAffineNormEps, normed);
    see("predictor_final_norm", -1, normed);
    View<const float, 2> result = normed;
    if (model_.output) {
      const auto projected = head_of(scratch_.projected, rows, p.output);
      linear(ctx_, normed, model_.output.weight, {.bias = model_.output.bias}, projected);
      result = projected;
    }
    see("predictor_out", -1, result);
    apply_head(ctx_, model_.pred_proj, result, head_of(scratch_.head, rows, scratch_.head.size(1)),
               out);
    see("pred", -1, out);
  }

  i64 count() const { return count_; }

 private:
  static std::size_t at(i64 index) { return static_cast<std::size_t>(index); }
  // the first rows of a buffer, seen as [rows, width]: chunks smaller than the state's stay
  // contiguous
  template <int Rank>
  static View<float, 2> head_of(View<float, Rank> buffer, i64 rows, i64 width) {
    ORRERY_ASSERT(rows * width <= buffer.numel());
    return View<float, 2>(buffer.data(), {rows, width});
  }
  void see(const char* stage, i64 layer, View<const float, 2> rows) const {
    if (probe_ != nullptr) (*probe_)(stage, layer, rows);
  }

  // latents + positions, through the input projection
  void enter(i64 left, i64 first, i64 frames, View<float, 2> x) {
    const PredictorConfig& p = model_.config().predictor;
    const View<const float, 2> positions = model_.weights().tensors.predictor.positions;
    const auto positioned =
        model_.input ? head_of(scratch_.positioned, frames * count_, p.input) : x;
    const float* latents = scratch_.latents.data() + first * count_ * p.input;
    for (i64 row = 0; row < frames * count_; ++row) {
      const float* position = &positions(first - left + row / count_, 0);
      float* to = &positioned(row, 0);
      for (i64 d = 0; d < p.input; ++d) to[d] = latents[row * p.input + d] + position[d];
    }
    if (!model_.input) return;
    linear(ctx_, positioned, model_.input.weight, {.bias = model_.input.bias}, x);
    see("predictor_input_proj", -1, x);
  }

  // normed = affine_norm(modulate(bare_norm(x)))
  void modulated_norm(View<const float, 2> x, const nn::Norm& affine, View<const float, 2> shift,
                      View<const float, 2> scale, View<float, 2> normed) {
    const auto cube = [](auto rows) {
      using Rows = decltype(rows);
      using Element = std::remove_pointer_t<decltype(std::declval<Rows>().data())>;
      return View<Element, 3>(rows.data(), {1, rows.size(0), rows.size(1)}, {0, rows.stride(0), 1});
    };
    layer_norm(ctx_, x, {}, {}, kBareNormEps, normed);
    modulate(ctx_, cube(View<const float, 2>(normed)), cube(shift), cube(scale), cube(normed));
    layer_norm(ctx_, normed, affine.weight, affine.bias, kAffineNormEps, normed);
  }

  // One conditional block for frames [first, last]; returns the rows of frames [from, last],
  // updated.
  View<float, 2> block(i64 layer, i64 left, i64 first, i64 last, i64 from, View<float, 2> x) {
    const PredictorConfig& p = model_.config().predictor;
    const Model::PredictorBlock& packed = model_.predictor[at(layer)];
    const PredictorLayer& norms = model_.weights().tensors.predictor.layers[at(layer)];
    const i64 frames = last - first + 1;
    const i64 dim = p.hidden;

    // parts of the modulation for frames [begin, last]: shift, scale, gate of attention, then of
    // the MLP
    const auto part = [&](i64 begin, i64 index) {
      const float* rows = scratch_.modulation[at(layer)].data() + begin * count_ * 6 * dim;
      return View<const float, 2>(rows + index * dim, {(last - begin + 1) * count_, dim},
                                  {6 * dim, 1});
    };

    const auto normed = head_of(scratch_.normed, frames * count_, dim);
    modulated_norm(x, norms.attention_norm, part(first, 0), part(first, 1), normed);

    // queries, keys and values go to their places in the window
    const i64 row = 3 * p.inner();
    float* window = scratch_.qkv[at(layer)].data();
    linear(ctx_, normed, packed.qkv.weight, {},
           View<float, 2>(window + (first - left) * count_ * row, {frames * count_, row}));
    const auto heads = [&](i64 begin, i64 count, i64 which) {
      return View<const float, 4>(window + (begin - left) * count_ * row + which * p.inner(),
                                  {count_, count, p.heads, p.head_dim},
                                  {row, count_ * row, p.head_dim, 1});
    };
    const i64 queries = last - from + 1;
    const auto attended = head_of(scratch_.attended, queries * count_, p.inner());
    attention(ctx_, heads(from, queries, 0), heads(left, last - left + 1, 1),
              heads(left, last - left + 1, 2), 1.0f / std::sqrt(static_cast<float>(p.head_dim)),
              true,
              View<float, 4>(attended.data(), {count_, queries, p.heads, p.head_dim},
                             {p.inner(), count_ * p.inner(), p.head_dim, 1}));

    // from here on only frames [from, last]
    const auto stream = x.slice(0, (from - first) * count_, frames * count_);
    const auto some = head_of(scratch_.normed, stream.size(0), dim);
    if (packed.out) {
      if (probe_ != nullptr) {
        linear(ctx_, attended, packed.out.weight, {.bias = packed.out.bias}, some);
        see("predictor_block_attn", layer, some);
      }
      linear(ctx_, attended, packed.out.weight,
             {.bias = packed.out.bias, .gate = part(from, 2), .residual = stream}, stream);
    } else {
      see("predictor_block_attn", layer, attended);
      add_gated(attended, part(from, 2), stream);
    }

    modulated_norm(stream, norms.mlp_norm, part(from, 3), part(from, 4), some);
    const auto hidden = head_of(scratch_.hidden, stream.size(0), p.mlp);
    linear(ctx_, some, packed.up.weight, {.bias = packed.up.bias, .activation = Activation::gelu},
           hidden);
    if (probe_ != nullptr) {
      linear(ctx_, hidden, packed.down.weight, {.bias = packed.down.bias}, some);
      see("predictor_block_mlp", layer, some);
    }
    linear(ctx_, hidden, packed.down.weight,
           {.bias = packed.down.bias, .gate = part(from, 5), .residual = stream}, stream);
    return stream;
  }

  static void add_gated(View<const float, 2> branch, View<const float, 2> gate,
                        View<float, 2> stream) {
    for (i64 r = 0; r < stream.size(0); ++r) {
      for (i64 d = 0; d < stream.size(1); ++d) stream(r, d) += gate(r, d) * branch(r, d);
    }
  }

  Context& ctx_;
  const Model& model_;
  RolloutScratch& scratch_;
  i64 count_;
  const Probe* probe_;
};

void copy_rows(const float* from, i64 count, float* to) {
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
}

}  // namespace

RolloutState make_rollout_state(Context& ctx, const Model& model, RolloutSizes sizes) {
  check(sizes.samples >= 1 && sizes.history >= 1 && sizes.blocks >= 1, "rollout: ", sizes.samples,
        " samples, ", sizes.history, " context frames and ", sizes.blocks,
        " blocks were asked for, at least one of each is needed");
  check(sizes.blocks >= sizes.history, "rollout: ", sizes.blocks, " action blocks for ",
        sizes.history, " context frames leave nothing to predict");
  RolloutState state;
  state.sizes = sizes;
  // equal chunks, as many as the team can share evenly
  i64 chunks = (sizes.samples + kLargestChunk - 1) / kLargestChunk;
  chunks = (chunks + ctx.threads() - 1) / ctx.threads() * ctx.threads();
  state.chunk = std::max<i64>(1, (sizes.samples + chunks - 1) / chunks);
  state.workers.resize(static_cast<std::size_t>(ctx.threads()));

  Arena measure;
  for (auto& worker : state.workers) lay_out(measure, model.config(), sizes, state.chunk, worker);
  state.memory = Block(measure.used());
  Arena arena(state.memory);
  for (auto& worker : state.workers) lay_out(arena, model.config(), sizes, state.chunk, worker);
  return state;
}

void rollout(Context& ctx, const Model& model, RolloutState& state, View<const float, 2> context,
             View<const float, 2> prefix, View<const float, 3> actions, View<float, 3> latents,
             View<float, 2> last) {
  const Config& config = model.config();
  const i64 dim = config.latent();
  const i64 width = config.action.input;
  const i64 samples = actions.size(0);
  const i64 history = context.size(0);
  const i64 shared = prefix ? prefix.size(0) : 0;
  const i64 blocks = shared + actions.size(1);
  const i64 steps = blocks - history + 1;
  check(context.size(1) == dim, "rollout: context latents have ", context.size(1),
        " numbers, the model's ", dim);
  check(actions.size(2) == width, "rollout: an action block has ", actions.size(2),
        " numbers, the model takes ", width);
  check(!prefix || prefix.size(1) == width, "rollout: a block of the action history has ",
        prefix.size(1), " numbers, the model takes ", width);
  check(history >= 1 && steps >= 1, "rollout: ", history, " context frames and ", blocks,
        " action blocks leave nothing to predict");
  check(shared == 0 || shared == history - 1, "rollout: the action history holds ", shared,
        " blocks, ", history, " context frames have ", history - 1, " between them");
  check(samples <= state.sizes.samples && blocks <= state.sizes.blocks &&
            history <= state.sizes.history,
        "rollout: ", samples, " samples, ", history, " frames, ", blocks,
        " blocks do not fit the state, made for ", state.sizes.samples, ", ", state.sizes.history,
        ", ", state.sizes.blocks);
  check(context.contiguous() && actions.contiguous() && (!prefix || prefix.contiguous()),
        "rollout: inputs must be contiguous");

  const i64 chunks = (samples + state.chunk - 1) / state.chunk;
  ctx.parallel(chunks, [&](i64 index, int worker) {
    const i64 begin = index * state.chunk;
    const i64 count = std::min(state.chunk, samples - begin);
    RolloutScratch& scratch = state.workers[static_cast<std::size_t>(worker)];
    Chunk chunk(ctx, model, scratch, count, nullptr);

    // time first
    for (i64 t = 0; t < blocks; ++t) {
      for (i64 s = 0; s < count; ++s) {
        const float* from = t < shared ? &prefix(t, 0) : &actions(begin + s, t - shared, 0);
        copy_rows(from, width, scratch.actions.data() + (t * count + s) * width);
      }
    }
    for (i64 t = 0; t < history; ++t) {
      for (i64 s = 0; s < count; ++s)
        copy_rows(&context(t, 0), dim, scratch.latents.data() + (t * count + s) * dim);
    }
    chunk.modulate_blocks(blocks);

    i64 left_before = -1;
    for (i64 t = 0; t < steps; ++t) {
      const i64 newest = history - 1 + t;
      const i64 left = std::max<i64>(0, newest + 1 - config.predictor.window);
      // a window that only grew keeps its keys and values; one that moved has new positions
      // throughout
      const i64 first = left == left_before ? newest : left;
      left_before = left;
      chunk.advance(
          left, first, newest, newest,
          View<float, 2>(scratch.latents.data() + (newest + 1) * count * dim, {count, dim}));
    }

    for (i64 s = 0; s < count; ++s) {
      if (latents) {
        for (i64 t = 0; t < history + steps; ++t) {
          copy_rows(scratch.latents.data() + (t * count + s) * dim, dim, &latents(begin + s, t, 0));
        }
      }
      if (last)
        copy_rows(scratch.latents.data() + ((history + steps - 1) * count + s) * dim, dim,
                  &last(begin + s, 0));
    }
  });
}

void predict(Context& ctx, const Model& model, RolloutState& state, View<const float, 3> latents,
             View<const float, 3> actions, View<float, 3> pred, const Probe* probe) {
  const Config& config = model.config();
  const i64 dim = config.latent();
  const i64 batch = latents.size(0);
  const i64 time = latents.size(1);
  check(time >= 1 && time <= config.predictor.window, "predict: ", time,
        " frames, the window holds ", config.predictor.window);
  check(latents.size(2) == dim && actions.size(2) == config.action.input &&
            actions.size(0) == batch && actions.size(1) == time && pred.sizes() == latents.sizes(),
        "predict: latents are ", latents.shape(), ", actions ", actions.shape(), ", results ",
        pred.shape(), "; needed (b, t, ", dim, "), (b, t, ", config.action.input, "), (b, t, ", dim,
        ")");
  check(batch <= state.sizes.samples && time <= state.sizes.blocks, "predict: ", batch,
        " windows of ", time, " frames do not fit the state, made for ", state.sizes.samples,
        " of ", state.sizes.blocks);
  check(probe == nullptr || batch <= state.chunk, "predict: a probe sees at most ", state.chunk,
        " windows");

  const i64 chunks = (batch + state.chunk - 1) / state.chunk;
  ctx.parallel(chunks, [&](i64 index, int worker) {
    const i64 begin = index * state.chunk;
    const i64 count = std::min(state.chunk, batch - begin);
    RolloutScratch& scratch = state.workers[static_cast<std::size_t>(worker)];
    Chunk chunk(ctx, model, scratch, count, probe);
    for (i64 t = 0; t < time; ++t) {
      for (i64 b = 0; b < count; ++b) {
        copy_rows(&actions(begin + b, t, 0), config.action.input,
                  scratch.actions.data() + (t * count + b) * config.action.input);
        copy_rows(&latents(begin + b, t, 0), dim, scratch.latents.data() + (t * count + b) * dim);
      }
    }
    chunk.modulate_blocks(time);
    // results take the place of the latents, which are not needed any more
    const View<float, 2> out(scratch.latents.data(), {time * count, dim});
    chunk.advance(0, 0, time - 1, 0, out);
    for (i64 t = 0; t < time; ++t) {
      for (i64 b = 0; b < count; ++b)
        copy_rows(&out(t * count + b, 0), dim, &pred(begin + b, t, 0));
    }
  });
}

void encode_actions(Context& ctx, const Model& model, RolloutState& state,
                    View<const float, 2> actions, View<float, 2> encoded, const Probe* probe) {
  RolloutScratch& scratch = state.workers.front();
  check(actions.size(1) == model.config().action.input, "action encoder: a block has ",
        actions.size(1), " numbers, the model takes ", model.config().action.input);
  check(actions.size(0) <= scratch.smoothed.size(0), "action encoder: ", actions.size(0),
        " rows do not fit the state, made for ", scratch.smoothed.size(0));
  run_action_encoder(ctx, model, actions, scratch.smoothed.slice(0, 0, actions.size(0)),
                     scratch.wide.slice(0, 0, actions.size(0)), encoded, probe);
}

}  // namespace orrery::lewm
