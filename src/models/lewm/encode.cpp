#include "models/lewm/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "ops/attention.h"
#include "ops/image.h"
#include "ops/layer_norm.h"

namespace orrery::lewm {

namespace {

// tokens per chunk: about 1,000 rows keep every product efficient while the MLP's hidden rows (3
// MB) stay near the cores
constexpr i64 kChunkTokens = 1024;
// PyTorch's LayerNorm default
constexpr float kHeadNormEps = 1e-5f;

void lay_out(Arena& arena, const Config& config, EncoderState& state) {
  const EncoderConfig& e = config.encoder;
  const i64 patches = state.grid_h * state.grid_w;
  const i64 rows = state.chunk * (1 + patches);
  state.positions = arena.take<float, 2>({1 + patches, e.hidden});
  state.patches = arena.take<float, 3>({state.chunk, patches, e.patch_inputs()});
  state.tokens = arena.take<float, 3>({state.chunk, 1 + patches, e.hidden});
  state.normed = arena.take<float, 2>({rows, e.hidden});
  state.qkv = arena.take<float, 2>({rows, 3 * e.hidden});
  state.attended = arena.take<float, 2>({rows, e.hidden});
  state.hidden = arena.take<float, 2>({rows, e.mlp});
  state.cls = arena.take<float, 2>({state.chunk, e.hidden});
  state.head = arena.take<float, 2>({state.chunk, config.projector.hidden});
}

// positions for this grid, the CLS token added to the first
void fill_positions(Context& ctx, const Model& model, EncoderState& state) {
  const EncoderConfig& e = model.config().encoder;
  const Encoder& encoder = model.weights().tensors.encoder;
  const i64 trained = e.grid();
  // transformers' rule: taken as they are when the number of patches agrees and the image is square
  const bool as_trained =
      state.grid_h * state.grid_w == trained * trained && state.height == state.width;
  const View<const float, 2> grid = encoder.positions.slice(0, 1, 1 + trained * trained);
  const View<float, 2> target = state.positions.slice(0, 1, 1 + state.grid_h * state.grid_w);
  if (as_trained) {
    std::memcpy(target.data(), grid.data(), static_cast<std::size_t>(grid.numel()) * sizeof(float));
  } else {
    bicubic_grid(ctx, grid.reshaped<3>({trained, trained, e.hidden}),
                 target.reshaped<3>({state.grid_h, state.grid_w, e.hidden}));
  }
  for (i64 d = 0; d < e.hidden; ++d)
    state.positions(0, d) = encoder.positions(0, d) + encoder.cls(d);
}

// One block on rows [n * tokens, D]. With cls_only, keys and values come from all tokens and
// everything after from the CLS tokens alone: the exact result where only they are used.
void encoder_block(Context& ctx, const Model& model, i64 layer, EncoderState& state, i64 frames,
                   bool cls_only) {
  const EncoderConfig& e = model.config().encoder;
  const Model::EncoderBlock& block = model.encoder[static_cast<std::size_t>(layer)];
  const EncoderLayer& norms =
      model.weights().tensors.encoder.layers[static_cast<std::size_t>(layer)];
  const i64 tokens = state.tokens.size(1);
  const i64 rows = frames * tokens;
  const auto x = state.tokens.slice(0, 0, frames).as_rows();
  const auto normed = state.normed.slice(0, 0, rows);
  const auto qkv = state.qkv.slice(0, 0, rows);

  layer_norm(ctx, x, norms.before.weight, norms.before.bias, e.norm_eps, normed);
  linear(ctx, normed, block.qkv.weight, {.bias = block.qkv.bias}, qkv);

  const auto part = [&](i64 index) {
    return qkv.slice(1, index * e.hidden, (index + 1) * e.hidden).data();
  };
  const i64 row = 3 * e.hidden;
  const View<float, 4>::Sizes strides = {tokens * row, row, e.head_dim(), 1};
  const auto heads = [&](i64 index, i64 count) {
    return View<const float, 4>(part(index), {frames, count, e.heads, e.head_dim()}, strides);
  };
  const i64 queries = cls_only ? 1 : tokens;
  const auto attended = state.attended.slice(0, 0, frames * queries);
  attention(ctx, heads(0, queries), heads(1, tokens), heads(2, tokens),
            1.0f / std::sqrt(static_cast<float>(e.head_dim())), false,
            View<float, 4>(attended.data(), {frames, queries, e.heads, e.head_dim()}));

  // from here on only the rows that were queries
  const View<float, 2> stream(x.data(), {frames * queries, e.hidden},
                              {cls_only ? tokens * e.hidden : e.hidden, 1});
  const auto some = state.normed.slice(0, 0, frames * queries);
  const auto hidden = state.hidden.slice(0, 0, frames * queries);
  linear(ctx, attended, block.output.weight, {.bias = block.output.bias, .residual = stream},
         stream);
  layer_norm(ctx, stream, norms.after.weight, norms.after.bias, e.norm_eps, some);
  linear(ctx, some, block.up.weight, {.bias = block.up.bias, .activation = Activation::gelu},
         hidden);
  linear(ctx, hidden, block.down.weight, {.bias = block.down.bias, .residual = stream}, stream);
}

// state.patches hold the frames' patches
void encode_patches(Context& ctx, const Model& model, EncoderState& state, i64 frames,
                    View<float, 2> latents, const Probe* probe) {
  const EncoderConfig& e = model.config().encoder;
  const i64 patches = state.patches.size(1);
  const i64 tokens = 1 + patches;
  const auto see = [&](const char* stage, i64 layer, View<const float, 2> rows) {
    if (probe != nullptr) (*probe)(stage, layer, rows);
  };

  if (probe != nullptr) {
    const auto embedded = state.normed.slice(0, 0, frames * patches);
    linear(ctx, state.patches.slice(0, 0, frames).as_rows(), model.patch.weight,
           {.bias = model.patch.bias}, embedded);
    see("patch_embedding", -1, embedded);
  }
  const auto grid_positions = state.positions.slice(0, 1, tokens);
  for (i64 n = 0; n < frames; ++n) {
    std::memcpy(&state.tokens(n, 0, 0), state.positions.data(),
                static_cast<std::size_t>(e.hidden) * sizeof(float));
    linear(ctx, state.patches[n], model.patch.weight,
           {.bias = model.patch.bias, .residual = grid_positions},
           state.tokens[n].slice(0, 1, tokens));
  }
  see("encoder_input", -1, state.tokens.slice(0, 0, frames).as_rows());

  for (i64 layer = 0; layer < e.layers; ++layer) {
    encoder_block(ctx, model, layer, state, frames, layer + 1 == e.layers && probe == nullptr);
    see("encoder_layer", layer, state.tokens.slice(0, 0, frames).as_rows());
  }

  const nn::Norm& norm = model.weights().tensors.encoder.norm;
  if (probe != nullptr) {
    const auto all = state.normed.slice(0, 0, frames * tokens);
    layer_norm(ctx, state.tokens.slice(0, 0, frames).as_rows(), norm.weight, norm.bias, e.norm_eps,
               all);
    see("encoder_final_norm", -1, all);
  }
  const View<const float, 2> cls_tokens(state.tokens.data(), {frames, e.hidden},
                                        {tokens * e.hidden, 1});
  const auto cls = state.cls.slice(0, 0, frames);
  layer_norm(ctx, cls_tokens, norm.weight, norm.bias, e.norm_eps, cls);
  see("cls", -1, cls);
  apply_head(ctx, model.projector, cls, state.head.slice(0, 0, frames), latents);
  see("emb", -1, latents);
}

template <typename Frames, typename Patch>
void encode_chunks(Context& ctx, const Model& model, EncoderState& state, Frames frames,
                   View<float, 2> latents, const Probe* probe, const Patch& patch) {
  check(latents.size(0) == frames.size(0) && latents.size(1) == model.config().latent(),
        "encode: latents are ", latents.shape(), ", needed (", frames.size(0), ", ",
        model.config().latent(), ")");
  for (i64 first = 0; first < frames.size(0); first += state.chunk) {
    const i64 last = std::min(frames.size(0), first + state.chunk);
    patch(frames.slice(0, first, last), state.patches.slice(0, 0, last - first));
    encode_patches(ctx, model, state, last - first, latents.slice(0, first, last), probe);
  }
}

}  // namespace

EncoderState make_encoder_state(Context& ctx, const Model& model, i64 height, i64 width,
                                i64 frames) {
  const EncoderConfig& e = model.config().encoder;
  check(height >= e.patch && width >= e.patch, "encode: a frame of ", height, " x ", width,
        " holds no patch of side ", e.patch);
  check(height <= 16384 && width <= 16384, "encode: a frame of ", height, " x ", width,
        " is larger than 16384 a side");
  check(frames >= 1, "encode: room for ", frames, " frames was asked for, at least one is needed");
  EncoderState state;
  state.height = height;
  state.width = width;
  state.grid_h = height / e.patch;
  state.grid_w = width / e.patch;
  state.chunk = std::clamp<i64>(kChunkTokens / (1 + state.grid_h * state.grid_w), 1, frames);

  Arena measure;
  lay_out(measure, model.config(), state);
  state.memory = Block(measure.used());
  Arena arena(state.memory);
  lay_out(arena, model.config(), state);
  fill_positions(ctx, model, state);
  return state;
}

void encode(Context& ctx, const Model& model, EncoderState& state, View<const u8, 4> frames,
            View<float, 2> latents, const Probe* probe) {
  check(frames.size(1) == state.height && frames.size(2) == state.width && frames.size(3) == 3,
        "encode: frames are ", frames.shape(), ", the state was made for (n, ", state.height, ", ",
        state.width, ", 3)");
  encode_chunks(ctx, model, state, frames, latents, probe,
                [&](View<const u8, 4> some, View<float, 3> patches) {
                  patch_rows_from_bytes(ctx, some, model.config().encoder.patch, patches);
                });
}

void encode(Context& ctx, const Model& model, EncoderState& state, View<const float, 4> pixels,
            View<float, 2> latents, const Probe* probe) {
  check(pixels.size(1) == 3 && pixels.size(2) == state.height && pixels.size(3) == state.width,
        "encode: pixels are ", pixels.shape(), ", the state was made for (n, 3, ", state.height,
        ", ", state.width, ")");
  encode_chunks(ctx, model, state, pixels, latents, probe,
                [&](View<const float, 4> some, View<float, 3> patches) {
                  patch_rows(ctx, some, model.config().encoder.patch, patches);
                });
}

void apply_head(Context& ctx, const PackedHead& head, View<const float, 2> x, View<float, 2> hidden,
                View<float, 2> y) {
  if (!head) {
    for (i64 r = 0; r < x.size(0); ++r) {
      std::memcpy(&y(r, 0), &x(r, 0), static_cast<std::size_t>(x.size(1)) * sizeof(float));
    }
    return;
  }
  if (head.norm_gain) {
    linear(ctx, x, head.up.weight, {.bias = head.up.bias}, hidden);
    layer_norm(ctx, hidden, head.norm_gain, head.norm_bias, kHeadNormEps, hidden);
    activate(ctx, head.activation, hidden.flat(), hidden.flat());
  } else {
    linear(ctx, x, head.up.weight, {.bias = head.up.bias, .activation = head.activation}, hidden);
  }
  linear(ctx, hidden, head.down.weight, {.bias = head.down.bias}, y);
}

}  // namespace orrery::lewm
