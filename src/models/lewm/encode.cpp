#include "models/lewm/encode.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/attention.h"
#include "ops/image.h"
#include "ops/layer_norm.h"
#include "ops/linear_attention.h"
#include "ops/norm_linear.h"
#include "ops/strided.h"

namespace orrery::lewm {

namespace {

// CPU: about 1,000 rows keep every product efficient while the MLP's hidden rows (3 MB) stay near
// the cores
constexpr i64 kChunkTokens = 1024;
// CUDA: a chunk's rows go through all layers within this share of the L2 cache. A row of the
// published size is 9.2 KB in f32 (stream, norm, q|k|v, attended, MLP), 6.1 KB in bf16: 37 MB of an
// H100's 50 are 4,100 and 6,200 rows, 16 and 24 frames.
constexpr double kCacheShare = 0.75;
// ... but never fewer rows than give every multiprocessor one tile of 128 rows, cache or not
constexpr i64 kTileRows = 128;
// PyTorch's LayerNorm default
constexpr float kHeadNormEps = 1e-5f;

template <typename Act>
void lay_out_rows(Arena& arena, const Config& config, const EncoderState& state,
                  EncoderRows<Act>& to) {
  const EncoderConfig& e = config.encoder;
  const i64 rows = state.chunk * (e.leading() + state.grid_h * state.grid_w);
  to.qkv = arena.take<Act, 2>({rows, 3 * e.hidden});
  to.attended = arena.take<Act, 2>({rows, e.hidden});
  to.hidden = arena.take<Act, 2>({rows, e.mlp});
  to.head = HeadRows<Act>(arena, config.projector, state.chunk);
}

void lay_out(Arena& arena, const Model& model, EncoderState& state) {
  const Config& config = model.config();
  const EncoderConfig& e = config.encoder;
  const i64 patches = state.grid_h * state.grid_w, tokens = e.leading() + patches;
  state.positions = arena.take<float, 2>({tokens, e.hidden});
  state.patches = arena.take<float, 3>({state.chunk, patches, e.patch_inputs()});
  if (model.narrow()) {
    state.byte_patches = arena.take<bf16, 3>({state.chunk, patches, e.patch_inputs()});
  }
  state.tokens = arena.take<float, 3>({state.chunk, tokens, e.hidden});
  state.normed = arena.take<float, 2>({state.chunk * tokens, e.hidden});
  state.cls = arena.take<float, 2>({state.chunk, e.hidden});
  if (model.narrow()) {
    lay_out_rows(arena, config, state, state.narrow);
  } else {
    lay_out_rows(arena, config, state, state.wide);
  }
}

// frames that go through the layers together
i64 chunk_of(const Context& ctx, const Model& model, i64 tokens, i64 frames) {
  if (ctx.device() == Device::cpu) return std::clamp<i64>(kChunkTokens / tokens, 1, frames);
  const EncoderConfig& e = model.config().encoder;
  const CudaFacts facts = cuda_facts().at(static_cast<std::size_t>(ctx.device_index()));
  const i64 between = (4 * e.hidden + e.mlp) * (model.narrow() ? 2 : 4);
  const double row_bytes = static_cast<double>(2 * e.hidden * 4 + between);
  const double in_cache = kCacheShare * static_cast<double>(facts.cache_bytes) / row_bytes;
  const i64 rows = std::max(static_cast<i64>(in_cache), facts.multiprocessors * kTileRows);
  // equal chunks
  const i64 most = std::clamp<i64>(rows / tokens, 1, frames);
  const i64 chunks = (frames + most - 1) / most;
  return (frames + chunks - 1) / chunks;
}

// positions for this grid, the CLS and meta tokens added to theirs; made by the host, once
void fill_positions(Context& ctx, const Model& model, EncoderState& state) {
  const EncoderConfig& e = model.config().encoder;
  const Encoder& encoder = model.weights().tensors.encoder;
  const i64 leading = e.leading();
  Tensor positions = Tensor::zeros<float>({leading + state.grid_h * state.grid_w, e.hidden});
  const auto rows = positions.view<float, 2>();
  const i64 trained = e.grid();
  // transformers' rule: taken as they are when the number of patches agrees and the image is square
  const bool as_trained =
      state.grid_h * state.grid_w == trained * trained && state.height == state.width;
  const View<const float, 2> grid = encoder.positions.slice(0, leading, e.tokens());
  const View<float, 2> target = rows.slice(0, leading, rows.size(0));
  if (as_trained) {
    std::copy_n(grid.data(), grid.numel(), target.data());
  } else {
    Context host({.threads = 1});
    bicubic_grid(host, grid.reshaped<3>({trained, trained, e.hidden}),
                 target.reshaped<3>({state.grid_h, state.grid_w, e.hidden}));
  }
  for (i64 d = 0; d < e.hidden; ++d) rows(0, d) = encoder.positions(0, d) + encoder.cls(d);
  for (i64 t = 1; t < leading; ++t) {
    for (i64 d = 0; d < e.hidden; ++d) {
      rows(t, d) = encoder.positions(t, d) + encoder.meta(t - 1, d);
    }
  }
  ctx.upload(state.positions.data(), positions.bytes(),
             static_cast<std::size_t>(positions.byte_count()));
  ctx.synchronize();
}

// One block on rows [n * tokens, D]. With cls_only, keys and values come from all tokens and
// everything after from the CLS tokens alone: the exact result where only they are used.
template <typename Act>
void encoder_block(Context& ctx, const Model& model, i64 layer, EncoderState& state, i64 frames,
                   bool cls_only) {
  const EncoderConfig& e = model.config().encoder;
  const Model::EncoderBlock& block = model.encoder[static_cast<std::size_t>(layer)];
  const EncoderLayer& norms = model.tensors().encoder.layers[static_cast<std::size_t>(layer)];
  const EncoderRows<Act>& scratch = state.rows<Act>();
  const i64 tokens = state.tokens.size(1);
  const i64 rows = frames * tokens;
  const auto x = state.tokens.slice(0, 0, frames).as_rows();
  const auto qkv = scratch.qkv.slice(0, 0, rows);

  norm_linear(ctx, x, {.gain = norms.before.weight, .bias = norms.before.bias, .eps = e.norm_eps},
              block.qkv.weight, {.bias = block.qkv.bias}, state.normed.slice(0, 0, rows), qkv);

  const i64 row = 3 * e.hidden;
  const auto heads = [&](i64 index, i64 count) {
    return View<const Act, 4>(qkv.data() + index * e.hidden, {frames, count, e.heads, e.head_dim()},
                              {tokens * row, row, e.head_dim(), 1});
  };
  const i64 queries = cls_only ? 1 : tokens;
  const auto attended = scratch.attended.slice(0, 0, frames * queries);
  const View<Act, 4> mixed(attended.data(), {frames, queries, e.heads, e.head_dim()});
  if (!e.linear(layer)) {
    attention(ctx, heads(0, queries), heads(1, tokens), heads(2, tokens),
              1.0f / std::sqrt(static_cast<float>(e.head_dim())), false, mixed);
  } else if constexpr (std::is_same_v<Act, float>) {  // a model refuses others
    linear_attention(ctx, heads(0, queries), heads(1, tokens), heads(2, tokens), mixed);
  }

  // from here on only the rows that were queries
  const View<float, 2> stream(x.data(), {frames * queries, e.hidden},
                              {cls_only ? tokens * e.hidden : e.hidden, 1});
  const auto hidden = scratch.hidden.slice(0, 0, frames * queries);
  linear(ctx, attended, block.output.weight, {.bias = block.output.bias, .residual = stream},
         stream);
  norm_linear(ctx, stream,
              {.gain = norms.after.weight, .bias = norms.after.bias, .eps = e.norm_eps},
              block.up.weight, {.bias = block.up.bias, .activation = Activation::gelu},
              state.normed.slice(0, 0, frames * queries), hidden);
  linear(ctx, hidden, block.down.weight, {.bias = block.down.bias, .residual = stream}, stream);
}

// which rows a chunk's patches were put into
enum class PatchRows { normalized, bytes };

// the frames' patches are in the state's rows of that kind
template <typename Act>
void encode_patches(Context& ctx, const Model& model, EncoderState& state, i64 frames,
                    PatchRows given, View<float, 2> latents, const Probe* probe) {
  const EncoderConfig& e = model.config().encoder;
  const i64 patches = state.patches.size(1), leading = e.leading();
  const i64 tokens = leading + patches;
  const auto see = [&](const char* stage, i64 layer, View<const float, 2> rows) {
    if (probe != nullptr) (*probe)(stage, layer, rows);
  };

  const auto embedded = state.normed.slice(0, 0, frames * patches);
  if (given == PatchRows::bytes) {
    linear(ctx, state.byte_patches.slice(0, 0, frames).as_rows(), model.byte_patch.weight,
           {.bias = model.byte_patch.bias}, embedded);
  } else {
    linear(ctx, state.patches.slice(0, 0, frames).as_rows(), model.patch.weight,
           {.bias = model.patch.bias}, embedded);
  }
  see("patch_embedding", -1, embedded);

  // every frame: the rows of CLS and meta tokens, then the patches, positions added
  const auto stream = state.tokens.slice(0, 0, frames);
  const View<const float, 3> positions(state.positions.data(), {frames, tokens, e.hidden},
                                       {0, e.hidden, 1});
  copy(ctx, positions.slice(1, 0, leading), stream.slice(1, 0, leading));
  add(ctx, embedded.reshaped<3>({frames, patches, e.hidden}), positions.slice(1, leading, tokens),
      stream.slice(1, leading, tokens));
  see("encoder_input", -1, stream.as_rows());

  for (i64 layer = 0; layer < e.layers; ++layer) {
    encoder_block<Act>(ctx, model, layer, state, frames, layer + 1 == e.layers && probe == nullptr);
    see("encoder_layer", layer, stream.as_rows());
  }

  const nn::Norm& norm = model.tensors().encoder.norm;
  const View<const float, 2> cls_tokens(stream.data(), {frames, e.hidden}, {tokens * e.hidden, 1});
  const auto cls = state.cls.slice(0, 0, frames);
  if (probe != nullptr) {
    const auto all = state.normed.slice(0, 0, frames * tokens);
    layer_norm(ctx, stream.as_rows(), norm.weight, norm.bias, e.norm_eps, all);
    see("encoder_final_norm", -1, all);
    layer_norm(ctx, cls_tokens, norm.weight, norm.bias, e.norm_eps, cls);
    see("cls", -1, cls);
  }
  apply_normed_head(ctx, model.projector,
                    {.gain = norm.weight, .bias = norm.bias, .eps = e.norm_eps}, cls_tokens, cls,
                    state.rows<Act>().head.first(frames), latents);
  see("emb", -1, latents);
}

// Chunk after chunk; patch(first, last) puts the patches of those frames into the state and says
// where.
template <typename Patch>
void encode_chunks(Context& ctx, const Model& model, EncoderState& state, i64 frames,
                   View<float, 2> latents, const Probe* probe, const Patch& patch) {
  check(latents.size(0) == frames && latents.size(1) == model.config().latent(),
        "encode: latents are ", latents.shape(), ", needed (", frames, ", ",
        model.config().latent(), ")");
  for (i64 first = 0; first < frames; first += state.chunk) {
    const i64 last = std::min(frames, first + state.chunk);
    const PatchRows given = patch(first, last);
    const auto into = latents.slice(0, first, last);
    if (model.narrow()) {
      encode_patches<bf16>(ctx, model, state, last - first, given, into, probe);
    } else {
      encode_patches<float>(ctx, model, state, last - first, given, into, probe);
    }
  }
}

}  // namespace

EncoderState make_encoder_state(Context& ctx, const Model& model, i64 height, i64 width,
                                i64 frames) {
  const EncoderConfig& e = model.config().encoder;
  check(!e.of_vectors(), "encode: the model sees vectors of ", e.vector.inputs, " numbers (column ",
        e.vector.column, "), pictures came");
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
  state.chunk = chunk_of(ctx, model, e.leading() + state.grid_h * state.grid_w, frames);

  Arena measure;
  lay_out(measure, model, state);
  state.memory = Block(ctx, measure.used());
  Arena arena(state.memory);
  lay_out(arena, model, state);
  fill_positions(ctx, model, state);
  return state;
}

void encode(Context& ctx, const Model& model, EncoderState& state, View<const u8, 4> frames,
            View<float, 2> latents, const Probe* probe) {
  check(frames.size(1) == state.height && frames.size(2) == state.width && frames.size(3) == 3,
        "encode: frames are ", frames.shape(), ", the state was made for (n, ", state.height, ", ",
        state.width, ", 3)");
  if (model.narrow()) {
    encode(ctx, model, state, packed_images(frames), latents, probe);
    return;
  }
  encode_chunks(ctx, model, state, frames.size(0), latents, probe, [&](i64 first, i64 last) {
    patch_rows_from_bytes(ctx, frames.slice(0, first, last), model.config().encoder.patch,
                          state.patches.slice(0, 0, last - first));
    return PatchRows::normalized;
  });
}

void encode(Context& ctx, const Model& model, EncoderState& state, View<const float, 4> pixels,
            View<float, 2> latents, const Probe* probe) {
  check(pixels.size(1) == 3 && pixels.size(2) == state.height && pixels.size(3) == state.width,
        "encode: pixels are ", pixels.shape(), ", the state was made for (n, 3, ", state.height,
        ", ", state.width, ")");
  encode_chunks(ctx, model, state, pixels.size(0), latents, probe, [&](i64 first, i64 last) {
    patch_rows(ctx, pixels.slice(0, first, last), model.config().encoder.patch,
               state.patches.slice(0, 0, last - first));
    return PatchRows::normalized;
  });
}

void encode(Context& ctx, const Model& model, EncoderState& state, PackedImages frames,
            View<float, 2> latents, const Probe* probe) {
  const i64 patch = model.config().encoder.patch;
  frames.resized_height = state.height;
  frames.resized_width = state.width;
  // bytes are exact in bf16, what lies between them after a resizing is not
  const bool as_bytes =
      model.narrow() && frames.height == state.height && frames.width == state.width;
  encode_chunks(ctx, model, state, frames.count, latents, probe, [&](i64 first, i64 last) {
    PackedImages some = frames;
    some.count = last - first;
    some.pixels.data += first * frames.pixels.image_pitch;
    if (some.chroma.data != nullptr) some.chroma.data += first * frames.chroma.image_pitch;
    if (as_bytes) {
      patch_rows_from_packed(ctx, some, patch, PatchValues::bytes,
                             state.byte_patches.slice(0, 0, some.count));
      return PatchRows::bytes;
    }
    patch_rows_from_packed(ctx, some, patch, PatchValues::normalized,
                           state.patches.slice(0, 0, some.count));
    return PatchRows::normalized;
  });
}

template <typename Act>
void apply_head(Context& ctx, const PackedHead& head, View<const float, 2> x,
                const HeadRows<Act>& scratch, View<float, 2> y) {
  if (!head) {
    const auto cube = [](auto rows) {
      using Element = std::remove_pointer_t<decltype(rows.data())>;
      return View<Element, 3>(rows.data(), {1, rows.size(0), rows.size(1)}, {0, rows.stride(0), 1});
    };
    copy(ctx, cube(x), cube(y));
    return;
  }
  if (head.norm_gain) {
    const auto hidden = scratch.normed;
    linear(ctx, x, head.up.weight, {.bias = head.up.bias}, hidden);
    layer_norm(ctx, hidden, head.norm_gain, head.norm_bias, kHeadNormEps, hidden);
    activate(ctx, head.activation, hidden.flat(), hidden.flat());
    linear(ctx, hidden, head.down.weight, {.bias = head.down.bias}, y);
  } else {
    const auto hidden = scratch.hidden;
    linear(ctx, x, head.up.weight, {.bias = head.up.bias, .activation = head.activation}, hidden);
    linear(ctx, hidden, head.down.weight, {.bias = head.down.bias}, y);
  }
}

template <typename Act>
void apply_normed_head(Context& ctx, const PackedHead& head, const RowNorm& norm,
                       View<const float, 2> x, View<float, 2> normed, const HeadRows<Act>& scratch,
                       View<float, 2> y) {
  if (!head || head.norm_gain) {
    layer_norm(ctx, x, norm.gain, norm.bias, norm.eps, normed);
    apply_head(ctx, head, normed, scratch, y);
    return;
  }
  const auto hidden = scratch.hidden;
  norm_linear(ctx, x, norm, head.up.weight, {.bias = head.up.bias, .activation = head.activation},
              normed, hidden);
  linear(ctx, hidden, head.down.weight, {.bias = head.down.bias}, y);
}

template void apply_head(Context& ctx, const PackedHead& head, View<const float, 2> x,
                         const HeadRows<float>& scratch, View<float, 2> y);
template void apply_head(Context& ctx, const PackedHead& head, View<const float, 2> x,
                         const HeadRows<bf16>& scratch, View<float, 2> y);

template void apply_normed_head(Context& ctx, const PackedHead& head, const RowNorm& norm,
                                View<const float, 2> x, View<float, 2> normed,
                                const HeadRows<float>& scratch, View<float, 2> y);
template void apply_normed_head(Context& ctx, const PackedHead& head, const RowNorm& norm,
                                View<const float, 2> x, View<float, 2> normed,
                                const HeadRows<bf16>& scratch, View<float, 2> y);

}  // namespace orrery::lewm
