#include "models/lewm/rollout.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/attention.h"
#include "ops/layer_norm.h"
#include "ops/modulate.h"
#include "ops/norm_linear.h"
#include "ops/strided.h"

namespace orrery::lewm {

namespace {

// norms of the conditional blocks: the bare one before modulation, then the affine ones (PyTorch's
// default)
constexpr float kBareNormEps = 1e-6f;
constexpr float kAffineNormEps = 1e-5f;
// CPU: candidates per chunk at most: their modulations and keys (about 9 MB at the published size)
// still fit a shared cache
constexpr i64 kLargestChunk = 56;
// CUDA: what the chunk may take of the device's memory. Beyond a few thousand candidates every
// product fills the chip; more at once would only be further from its cache.
constexpr std::size_t kLargestDeviceBytes = std::size_t{2} << 30;

template <typename Act>
void lay_out_rows(Arena& arena, const Config& config, i64 window, i64 blocks, i64 chunk,
                  RolloutRows<Act>& to) {
  const PredictorConfig& p = config.predictor;
  const i64 rows = window * chunk;
  to.wide = arena.take<Act, 2>({blocks * chunk, config.action.mlp_scale * config.action.output});
  to.qkv.resize(static_cast<std::size_t>(p.depth));
  for (auto& qkv : to.qkv) qkv = arena.take<Act, 3>({window, chunk, 3 * p.inner()});
  to.attended = arena.take<Act, 2>({rows, p.inner()});
  to.hidden = arena.take<Act, 2>({rows, p.mlp});
  to.head = HeadRows<Act>(arena, config.pred_proj, rows);
}

void lay_out(Arena& arena, const Model& model, const RolloutSizes& sizes, i64 chunk,
             RolloutScratch& scratch) {
  const Config& config = model.config();
  const PredictorConfig& p = config.predictor;
  const ActionEncoderConfig& a = config.action;
  const i64 window = std::max(p.window, sizes.history);
  const i64 rows = window * chunk;
  const i64 blocks = sizes.blocks * chunk;
  scratch.actions = arena.take<float, 3>({sizes.blocks, chunk, a.input});
  scratch.latents = arena.take<float, 3>({sizes.blocks + 1, chunk, config.latent()});
  scratch.smoothed = arena.take<float, 2>({blocks, a.smoothed});
  scratch.encoded = arena.take<float, 2>({blocks, a.output});
  scratch.condition = arena.take<float, 2>({blocks, p.hidden});
  scratch.modulation.resize(static_cast<std::size_t>(p.depth));
  for (auto& modulation : scratch.modulation) {
    modulation = arena.take<float, 3>({sizes.blocks, chunk, 6 * p.hidden});
  }
  scratch.positioned = arena.take<float, 2>({rows, p.input});
  scratch.stream = arena.take<float, 2>({rows, p.hidden});
  scratch.normed = arena.take<float, 2>({rows, p.hidden});
  scratch.projected = arena.take<float, 2>({rows, p.output});
  if (model.narrow_predictor()) {
    lay_out_rows(arena, config, window, sizes.blocks, chunk, scratch.narrow);
  } else {
    lay_out_rows(arena, config, window, sizes.blocks, chunk, scratch.wide);
  }
}

// candidates that go through together
i64 chunk_of(const Context& ctx, const Model& model, const RolloutSizes& sizes) {
  if (ctx.device() == Device::cpu) {
    // equal chunks, as many as the team can share evenly
    i64 chunks = (sizes.samples + kLargestChunk - 1) / kLargestChunk;
    chunks = (chunks + ctx.threads() - 1) / ctx.threads() * ctx.threads();
    return std::max<i64>(1, (sizes.samples + chunks - 1) / chunks);
  }
  constexpr i64 kSome = 1024;
  Arena measure;
  RolloutScratch scratch;
  lay_out(measure, model, sizes, kSome, scratch);
  const i64 fit =
      std::max<i64>(1, static_cast<i64>(kLargestDeviceBytes / (measure.used() / kSome)));
  // equal passes, of whole environments where one fits
  if (fit >= sizes.samples) {
    const i64 group = std::min(sizes.environments, fit / sizes.samples);
    const i64 passes = (sizes.environments + group - 1) / group;
    return (sizes.environments + passes - 1) / passes * sizes.samples;
  }
  const i64 passes = (sizes.samples + fit - 1) / fit;
  return (sizes.samples + passes - 1) / passes;
}

template <typename Act>
void run_action_encoder(Context& ctx, const Model& model, View<const float, 2> actions,
                        View<float, 2> smoothed, View<Act, 2> wide, View<float, 2> encoded,
                        const Probe* probe) {
  linear(ctx, actions, model.smooth.weight, {.bias = model.smooth.bias}, smoothed);
  if (probe != nullptr) (*probe)("action_conv", -1, smoothed);
  linear(ctx, smoothed, model.action_up.weight,
         {.bias = model.action_up.bias, .activation = Activation::silu}, wide);
  linear(ctx, wide, model.action_down.weight, {.bias = model.action_down.bias}, encoded);
  if (probe != nullptr) (*probe)("act_emb", -1, encoded);
}

// the first rows of a buffer, seen as [rows, width]: chunks smaller than the state's stay
// contiguous
template <typename T, int Rank>
View<T, 2> head_of(View<T, Rank> buffer, i64 rows, i64 width) {
  ORRERY_ASSERT(rows * width <= buffer.numel());
  return View<T, 2>(buffer.data(), {rows, width});
}

// rows as one block, for operations on blocks
template <typename T>
View<T, 3> as_block(View<T, 2> rows) {
  return View<T, 3>(rows.data(), {1, rows.size(0), rows.size(1)}, {0, rows.stride(0), 1});
}

// One chunk of candidates on its way through the predictor.
template <typename Act>
class Chunk {
 public:
  Chunk(Context& ctx, const Model& model, RolloutScratch& scratch, i64 count, const Probe* probe)
      : ctx_(ctx),
        model_(model),
        scratch_(scratch),
        rows_(scratch.rows<Act>()),
        count_(count),
        probe_(probe) {}

  // Actions of `blocks` blocks, [blocks * count, A] in scratch, to every layer's modulation.
  void modulate_blocks(i64 blocks) {
    const PredictorConfig& p = model_.config().predictor;
    const i64 rows = blocks * count_;
    const auto wide = head_of(rows_.wide, rows, rows_.wide.size(1));
    const auto encoded = head_of(scratch_.encoded, rows, scratch_.encoded.size(1));
    run_action_encoder(ctx_, model_, head_of(scratch_.actions, rows, model_.config().action.input),
                       head_of(scratch_.smoothed, rows, scratch_.smoothed.size(1)), wide, encoded,
                       probe_);
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
    const nn::Norm& norm = model_.tensors().predictor.norm;
    if (probe_ == nullptr && !model_.output) {
      apply_normed_head(ctx_, model_.pred_proj,
                        {.gain = norm.weight, .bias = norm.bias, .eps = kAffineNormEps}, x, normed,
                        rows_.head.first(rows), out);
      return;
    }
    layer_norm(ctx_, x, norm.weight, norm.bias, kAffineNormEps, normed);
    see("predictor_final_norm", -1, normed);
    View<const float, 2> result = normed;
    if (model_.output) {
      const auto projected = head_of(scratch_.projected, rows, p.output);
      linear(ctx_, normed, model_.output.weight, {.bias = model_.output.bias}, projected);
      result = projected;
    }
    see("predictor_out", -1, result);
    apply_head(ctx_, model_.pred_proj, result, rows_.head.first(rows), out);
    see("pred", -1, out);
  }

 private:
  static std::size_t at(i64 index) { return static_cast<std::size_t>(index); }
  void see(const char* stage, i64 layer, View<const float, 2> rows) const {
    if (probe_ != nullptr) (*probe_)(stage, layer, rows);
  }

  // latents + positions, through the input projection
  void enter(i64 left, i64 first, i64 frames, View<float, 2> x) {
    const PredictorConfig& p = model_.config().predictor;
    const auto positioned =
        model_.input ? head_of(scratch_.positioned, frames * count_, p.input) : x;
    const View<const float, 3> latents(scratch_.latents.data() + first * count_ * p.input,
                                       {frames, count_, p.input});
    // a frame's position is one row for all candidates
    const View<const float, 3> positions(
        model_.tensors().predictor.positions.data() + (first - left) * p.input,
        {frames, count_, p.input}, {p.input, 0, 1});
    add(ctx_, latents, positions, View<float, 3>(positioned.data(), {frames, count_, p.input}));
    if (!model_.input) return;
    linear(ctx_, positioned, model_.input.weight, {.bias = model_.input.bias}, x);
    see("predictor_input_proj", -1, x);
  }

  // what stands before a block's products: affine_norm(modulate(bare_norm(x)))
  static RowNorm modulated(const nn::Norm& affine, View<const float, 2> shift,
                           View<const float, 2> scale) {
    return {.gain = affine.weight,
            .bias = affine.bias,
            .eps = kAffineNormEps,
            .shift = shift,
            .scale = scale,
            .bare_eps = kBareNormEps};
  }

  // One conditional block for frames [first, last]; returns the rows of frames [from, last],
  // updated.
  View<float, 2> block(i64 layer, i64 left, i64 first, i64 last, i64 from, View<float, 2> x) {
    const PredictorConfig& p = model_.config().predictor;
    const Model::PredictorBlock& packed = model_.predictor[at(layer)];
    const PredictorLayer& norms = model_.tensors().predictor.layers[at(layer)];
    const i64 frames = last - first + 1;
    const i64 dim = p.hidden;

    // parts of the modulation for frames [begin, last]: shift, scale, gate of attention, then of
    // the MLP
    const auto part = [&](i64 begin, i64 index) {
      const float* rows = scratch_.modulation[at(layer)].data() + begin * count_ * 6 * dim;
      return View<const float, 2>(rows + index * dim, {(last - begin + 1) * count_, dim},
                                  {6 * dim, 1});
    };

    // queries, keys and values go to their places in the window
    const i64 row = 3 * p.inner();
    Act* window = rows_.qkv[at(layer)].data();
    norm_linear(ctx_, x, modulated(norms.attention_norm, part(first, 0), part(first, 1)),
                packed.qkv.weight, {}, head_of(scratch_.normed, frames * count_, dim),
                View<Act, 2>(window + (first - left) * count_ * row, {frames * count_, row}));
    const auto heads = [&](i64 begin, i64 count, i64 which) {
      return View<const Act, 4>(window + (begin - left) * count_ * row + which * p.inner(),
                                {count_, count, p.heads, p.head_dim},
                                {row, count_ * row, p.head_dim, 1});
    };
    const i64 queries = last - from + 1;
    const auto attended = head_of(rows_.attended, queries * count_, p.inner());
    attention(ctx_, heads(from, queries, 0), heads(left, last - left + 1, 1),
              heads(left, last - left + 1, 2), 1.0f / std::sqrt(static_cast<float>(p.head_dim)),
              true,
              View<Act, 4>(attended.data(), {count_, queries, p.heads, p.head_dim},
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
    } else if constexpr (std::is_same_v<Act, float>) {
      see("predictor_block_attn", layer, attended);
      const auto block = as_block(stream);
      gated_add(ctx_, block, as_block(part(from, 2)), as_block(View<const float, 2>(attended)),
                block);
    }

    const auto hidden = head_of(rows_.hidden, stream.size(0), p.mlp);
    norm_linear(ctx_, stream, modulated(norms.mlp_norm, part(from, 3), part(from, 4)),
                packed.up.weight, {.bias = packed.up.bias, .activation = Activation::gelu}, some,
                hidden);
    if (probe_ != nullptr) {
      linear(ctx_, hidden, packed.down.weight, {.bias = packed.down.bias}, some);
      see("predictor_block_mlp", layer, some);
    }
    linear(ctx_, hidden, packed.down.weight,
           {.bias = packed.down.bias, .gate = part(from, 5), .residual = stream}, stream);
    return stream;
  }

  Context& ctx_;
  const Model& model_;
  RolloutScratch& scratch_;
  const RolloutRows<Act>& rows_;
  i64 count_;
  const Probe* probe_;
};

// Runs body(index, worker) for every index: pieces of one stream follow each other, pieces of a CPU
// are spread over the team.
template <typename Body>
void for_each_piece(Context& ctx, i64 count, const Body& body) {
  if (ctx.device() == Device::cpu) {
    ctx.parallel(count, body);
  } else {
    for (i64 index = 0; index < count; ++index) body(index, 0);
  }
}

// Candidates that go through together: `samples` of each of some consecutive environments.
struct Piece {
  i64 first_environment, environments;
  i64 first_sample, samples;
  i64 rows() const { return environments * samples; }
};

// The cut of environments x samples into pieces of at most `chunk` rows: whole environments where
// one fits, else parts of one.
class Cut {
 public:
  Cut(i64 chunk, i64 environments, i64 samples)
      : environments_(environments),
        samples_(samples),
        group_(std::clamp<i64>(chunk / samples, 1, environments)),
        part_(std::min(chunk, samples)),
        parts_((samples + part_ - 1) / part_) {}

  i64 size() const { return (environments_ + group_ - 1) / group_ * parts_; }
  Piece operator[](i64 index) const {
    const i64 environment = index / parts_ * group_, sample = index % parts_ * part_;
    return {environment, std::min(group_, environments_ - environment), sample,
            std::min(part_, samples_ - sample)};
  }

 private:
  i64 environments_, samples_, group_, part_, parts_;
};

// The inputs of a piece into scratch, time first: actions from its blocks, context to its latents.
void gather(Context& ctx, const RolloutInput& input, const Piece& piece, RolloutScratch& scratch) {
  const i64 rows = piece.rows();
  const i64 blocks = input.actions.size(2), width = input.actions.size(3);
  const i64 shared = input.prefix ? input.prefix.size(1) : 0;
  // row t of every environment's [times, D], once per candidate
  const auto spread = [&](View<const float, 3> from, i64 t, View<float, 3> to) {
    const i64 dim = from.size(2);
    const View<const float, 3> repeated(
        &from.data()[(piece.first_environment * from.size(1) + t) * dim],
        {piece.environments, piece.samples, dim}, {from.size(1) * dim, 0, 1});
    copy(ctx, repeated,
         View<float, 3>(to.data() + t * rows * dim, {piece.environments, piece.samples, dim}));
  };
  for (i64 t = 0; t < shared; ++t) spread(input.prefix, t, scratch.actions);
  for (i64 t = 0; t < input.context.size(1); ++t) spread(input.context, t, scratch.latents);

  // candidates of a piece follow each other
  const i64 first = piece.first_environment * input.actions.size(1) + piece.first_sample;
  copy(ctx,
       View<const float, 3>(input.actions.data() + first * blocks * width, {blocks, rows, width},
                            {width, blocks * width, 1}),
       View<float, 3>(scratch.actions.data() + shared * rows * width, {blocks, rows, width}));
}

template <typename Act>
void roll_out(Context& ctx, const Model& model, RolloutState& state, const RolloutInput& input,
              const RolloutOutput& output) {
  const i64 dim = model.config().latent();
  const i64 window = model.config().predictor.window;
  const i64 samples = input.actions.size(1);
  const i64 history = input.context.size(1);
  const i64 blocks = (input.prefix ? input.prefix.size(1) : 0) + input.actions.size(2);
  const i64 steps = blocks - history + 1;
  const Cut pieces(state.chunk, input.actions.size(0), samples);
  for_each_piece(ctx, pieces.size(), [&](i64 index, int worker) {
    const Piece piece = pieces[index];
    const i64 rows = piece.rows();
    RolloutScratch& scratch = state.workers[static_cast<std::size_t>(worker)];
    gather(ctx, input, piece, scratch);
    Chunk<Act> chunk(ctx, model, scratch, rows, nullptr);
    chunk.modulate_blocks(blocks);

    i64 left_before = -1;
    for (i64 t = 0; t < steps; ++t) {
      const i64 newest = history - 1 + t;
      const i64 left = std::max<i64>(0, newest + 1 - window);
      // a window that only grew keeps its keys and values; one that moved has new positions
      // throughout
      const i64 first = left == left_before ? newest : left;
      left_before = left;
      chunk.advance(
          left, first, newest, newest,
          View<float, 2>(scratch.latents.data() + (newest + 1) * rows * dim, {rows, dim}));
    }

    const i64 frames = history + steps;
    const i64 first = piece.first_environment * samples + piece.first_sample;
    if (output.latents) {
      copy(ctx, View<const float, 3>(scratch.latents.data(), {frames, rows, dim}),
           View<float, 3>(output.latents.data() + first * frames * dim, {frames, rows, dim},
                          {dim, frames * dim, 1}));
    }
    if (output.last) {
      copy(ctx,
           View<const float, 3>(scratch.latents.data() + (frames - 1) * rows * dim, {1, rows, dim}),
           View<float, 3>(output.last.data() + first * dim, {1, rows, dim}));
    }
  });
}

template <typename Act>
void predict_windows(Context& ctx, const Model& model, RolloutState& state,
                     View<const float, 3> latents, View<const float, 3> actions,
                     View<float, 3> pred, const Probe* probe) {
  const i64 dim = latents.size(2);
  const i64 time = latents.size(1);
  const Cut pieces(state.chunk, 1, latents.size(0));
  // [windows, time, .] and [time, windows, .]
  const auto of = [](auto rows, const Piece& piece) {
    return rows.slice(0, piece.first_sample, piece.first_sample + piece.samples).transposed();
  };
  const auto time_first = [&](View<float, 3> buffer, i64 rows) {
    return View<float, 3>(buffer.data(), {time, rows, buffer.size(2)});
  };
  for_each_piece(ctx, pieces.size(), [&](i64 index, int worker) {
    const Piece piece = pieces[index];
    RolloutScratch& scratch = state.workers[static_cast<std::size_t>(worker)];
    copy(ctx, of(actions, piece), time_first(scratch.actions, piece.samples));
    copy(ctx, of(latents, piece), time_first(scratch.latents, piece.samples));
    Chunk<Act> chunk(ctx, model, scratch, piece.samples, probe);
    chunk.modulate_blocks(time);
    // results take the place of the latents, which are not needed any more
    const View<float, 2> out(scratch.latents.data(), {time * piece.samples, dim});
    chunk.advance(0, 0, time - 1, 0, out);
    copy(ctx, time_first(scratch.latents, piece.samples), of(pred, piece));
  });
}

}  // namespace

RolloutState make_rollout_state(Context& ctx, const Model& model, RolloutSizes sizes) {
  check(sizes.samples >= 1 && sizes.history >= 1 && sizes.blocks >= 1, "rollout: ", sizes.samples,
        " samples, ", sizes.history, " context frames and ", sizes.blocks,
        " blocks were asked for, at least one of each is needed");
  check(sizes.blocks >= sizes.history, "rollout: ", sizes.blocks, " action blocks for ",
        sizes.history, " context frames leave nothing to predict");
  check(sizes.environments >= 1, "rollout: room for ", sizes.environments,
        " environments was asked for, at least one is needed");
  RolloutState state;
  state.sizes = sizes;
  state.chunk = chunk_of(ctx, model, sizes);
  state.workers.resize(ctx.device() == Device::cpu ? static_cast<std::size_t>(ctx.threads()) : 1);

  Arena measure;
  for (auto& worker : state.workers) lay_out(measure, model, sizes, state.chunk, worker);
  state.memory = Block(ctx, measure.used());
  Arena arena(state.memory);
  for (auto& worker : state.workers) lay_out(arena, model, sizes, state.chunk, worker);
  return state;
}

void rollout(Context& ctx, const Model& model, RolloutState& state, const RolloutInput& input,
             const RolloutOutput& output) {
  const Config& config = model.config();
  const auto& [context, prefix, actions] = input;
  const i64 dim = config.latent();
  const i64 width = config.action.input;
  const i64 environments = actions.size(0), samples = actions.size(1);
  const i64 history = context.size(1);
  const i64 shared = prefix ? prefix.size(1) : 0;
  const i64 blocks = shared + actions.size(2);
  const i64 steps = blocks - history + 1;
  check(context.size(2) == dim, "rollout: context latents have ", context.size(2),
        " numbers, the model's ", dim);
  check(actions.size(3) == width, "rollout: an action block has ", actions.size(3),
        " numbers, the model takes ", width);
  check(!prefix || prefix.size(2) == width, "rollout: a block of the action history has ",
        prefix.size(2), " numbers, the model takes ", width);
  check(context.size(0) == environments && (!prefix || prefix.size(0) == environments),
        "rollout: candidates of ", environments, " environments, contexts of ", context.size(0),
        prefix ? text(", action histories of ", prefix.size(0)) : "");
  check(history >= 1 && steps >= 1, "rollout: ", history, " context frames and ", blocks,
        " action blocks leave nothing to predict");
  check(shared == 0 || shared == history - 1, "rollout: the action history holds ", shared,
        " blocks, ", history, " context frames have ", history - 1, " between them");
  check(samples <= state.sizes.samples && blocks <= state.sizes.blocks &&
            history <= state.sizes.history,
        "rollout: ", samples, " samples, ", history, " frames, ", blocks,
        " blocks do not fit the state, made for ", state.sizes.samples, ", ", state.sizes.history,
        ", ", state.sizes.blocks);
  const Shape latents = {environments, samples, history + steps, dim};
  check(!output.latents || output.latents.shape() == latents, "rollout: latents to fill are ",
        output.latents.shape(), ", ", latents, " was needed");
  const Shape last = {environments, samples, dim};
  check(!output.last || output.last.shape() == last, "rollout: last latents to fill are ",
        output.last.shape(), ", ", last, " was needed");
  check(context.contiguous() && actions.contiguous() && (!prefix || prefix.contiguous()) &&
            (!output.latents || output.latents.contiguous()) &&
            (!output.last || output.last.contiguous()),
        "rollout: inputs and outputs must be contiguous");
  if (actions.numel() == 0) return;
  if (model.narrow_predictor()) {
    roll_out<bf16>(ctx, model, state, input, output);
  } else {
    roll_out<float>(ctx, model, state, input, output);
  }
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
  if (batch == 0) return;
  if (model.narrow_predictor()) {
    predict_windows<bf16>(ctx, model, state, latents, actions, pred, probe);
  } else {
    predict_windows<float>(ctx, model, state, latents, actions, pred, probe);
  }
}

}  // namespace orrery::lewm
