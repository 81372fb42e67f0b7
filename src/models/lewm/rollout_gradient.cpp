#include "models/lewm/rollout_gradient.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/layer_norm.h"
#include "ops/modulate.h"
#include "ops/strided.h"

namespace orrery::lewm {

namespace {

constexpr float kBareNormEps = 1e-6f;    // before modulation
constexpr float kAffineNormEps = 1e-5f;  // PyTorch's default, of the other norms
constexpr double kBatchNormEps = 1e-5;
// Candidates of a piece: enough rows for the products to run at full speed (4 tiles of 6 rows and
// more), few enough that a worker's trace stays below 100 MB at the published size.
constexpr i64 kLargestChunk = 40;
constexpr i64 kSmallestChunk = 8;

// parts of a modulation row
enum Part { shift_attention, scale_attention, gate_attention, shift_mlp, scale_mlp, gate_mlp };

std::size_t at(i64 index) { return static_cast<std::size_t>(index); }

template <typename T, int Rank>
View<T, 2> rows_of(View<T, Rank> buffer, i64 rows, i64 width) {
  ORRERY_ASSERT(rows * width <= buffer.numel());
  return View<T, 2>(buffer.data(), {rows, width});
}

template <typename T>
View<T, 3> as_block(View<T, 2> rows) {
  return View<T, 3>(rows.data(), {1, rows.size(0), rows.size(1)}, {0, rows.stride(0), 1});
}

PackedMatrix turned(Context& ctx, View<const float, 2> weight) {
  return weight ? PackedMatrix(ctx, weight.transposed()) : PackedMatrix();
}

// the head's first map with its BatchNorm in it
PackedMatrix turned_head(Context& ctx, const HeadConfig& config, const Head& head) {
  if (!config.present) return {};
  if (config.norm != HeadConfig::Norm::batch) return turned(ctx, head.up.weight);
  Tensor folded = Tensor::zeros<float>({config.hidden, config.input});
  const auto to = folded.view<float, 2>();
  for (i64 o = 0; o < config.hidden; ++o) {
    const double factor = static_cast<double>(head.norm.weight(o)) /
                          std::sqrt(static_cast<double>(head.running_var(o)) + kBatchNormEps);
    for (i64 i = 0; i < config.input; ++i) {
      to(o, i) = static_cast<float>(factor * static_cast<double>(head.up.weight(o, i)));
    }
  }
  return turned(ctx, to);
}

BackwardWeights backward_weights(Context& ctx, const Model& model) {
  const Tensors& t = model.weights().tensors;
  BackwardWeights back;
  back.smooth = turned(ctx, t.action.smooth.weight);
  back.action_up = turned(ctx, t.action.up.weight);
  back.action_down = turned(ctx, t.action.down.weight);
  back.condition = turned(ctx, t.predictor.condition.weight);
  back.input = turned(ctx, t.predictor.input.weight);
  back.output = turned(ctx, t.predictor.output.weight);
  back.head_up = turned_head(ctx, model.config().pred_proj, t.pred_proj);
  if (model.config().pred_proj.present) back.head_down = turned(ctx, t.pred_proj.down.weight);
  for (const PredictorLayer& layer : t.predictor.layers) {
    back.layers.push_back({turned(ctx, layer.modulation.weight), turned(ctx, layer.qkv),
                           turned(ctx, layer.out.weight), turned(ctx, layer.up.weight),
                           turned(ctx, layer.down.weight)});
  }
  return back;
}

// One piece on its way there and back.
class Walk {
 public:
  Walk(Context& ctx, const Model& model, const BackwardWeights& back, RolloutTrace& trace, i64 n)
      : ctx_(ctx), model_(model), p_(model.config().predictor), back_(back), t_(trace), n_(n) {}

  // actions of all blocks to every layer's modulation
  void modulate_blocks(i64 blocks) {
    const i64 rows = blocks * n_;
    const ActionEncoderConfig& a = model_.config().action;
    const auto smoothed = rows_of(t_.smoothed, rows, a.smoothed);
    const auto wide = rows_of(t_.action_wide, rows, t_.action_wide.size(1));
    const auto active = rows_of(t_.action_active, rows, wide.size(1));
    const auto encoded = rows_of(t_.encoded, rows, a.output);
    const auto condition = rows_of(t_.condition, rows, p_.hidden);
    linear(ctx_, rows_of(t_.actions, rows, a.input), model_.smooth.weight,
           {.bias = model_.smooth.bias}, smoothed);
    linear(ctx_, smoothed, model_.action_up.weight, {.bias = model_.action_up.bias}, wide);
    activate(ctx_, Activation::silu, wide.flat(), active.flat());
    linear(ctx_, active, model_.action_down.weight, {.bias = model_.action_down.bias},
           model_.condition ? encoded : condition);
    if (model_.condition) {
      linear(ctx_, encoded, model_.condition.weight, {.bias = model_.condition.bias}, condition);
    }
    const auto conditioned = rows_of(t_.active, rows, p_.hidden);
    activate(ctx_, Activation::silu, condition.flat(), conditioned.flat());
    for (i64 layer = 0; layer < p_.depth; ++layer) {
      const PackedDense& map = model_.predictor[at(layer)].modulation;
      linear(ctx_, conditioned, map.weight, {.bias = map.bias},
             rows_of(t_.modulation[at(layer)], rows, 6 * p_.hidden));
    }
  }

  // gradients of all blocks' modulations to those of their actions, blocks from `first` on
  void modulate_blocks_back(i64 first, i64 blocks) {
    const i64 skipped = first * n_, rows = (blocks - first) * n_;
    const ActionEncoderConfig& a = model_.config().action;
    const auto kept = [&](auto view) {
      const i64 width = view.size(view.shape().rank() - 1);
      return View<float, 2>(view.data() + skipped * width, {rows, width});
    };
    const auto dcondition = rows_of(t_.active, rows, p_.hidden);
    for (i64 layer = 0; layer < p_.depth; ++layer) {
      Epilogue sum;
      if (layer > 0) sum.residual = dcondition;
      linear(ctx_, kept(t_.dmodulation[at(layer)]), back_.layers[at(layer)].modulation, sum,
             dcondition);
    }
    activate_backward(ctx_, Activation::silu, kept(t_.condition).flat(), dcondition.flat(),
                      dcondition.flat());
    View<float, 2> dencoded = dcondition;
    if (back_.condition) {
      dencoded = rows_of(t_.encoded, rows, a.output);
      linear(ctx_, dcondition, back_.condition, {}, dencoded);
    }
    const auto dwide = rows_of(t_.action_active, rows, t_.action_wide.size(1));
    linear(ctx_, dencoded, back_.action_down, {}, dwide);
    activate_backward(ctx_, Activation::silu, kept(t_.action_wide).flat(), dwide.flat(),
                      dwide.flat());
    const auto dsmoothed = rows_of(t_.smoothed, rows, a.smoothed);
    linear(ctx_, dwide, back_.action_up, {}, dsmoothed);
    linear(ctx_, dsmoothed, back_.smooth, {}, kept(t_.dactions));
  }

  // the prediction of one pass
  void there(const RolloutPass& pass, std::size_t index) {
    PassTrace& trace = t_.passes[index];
    enter(pass, trace);
    for (i64 layer = 0; layer < p_.depth; ++layer) layer_there(pass, index, layer);

    const nn::Norm& norm = model_.tensors().predictor.norm;
    const auto end = rows_of(trace.end, n_, p_.hidden);
    View<float, 2> result = rows_of(t_.narrow, n_, p_.hidden);
    layer_norm(ctx_, end, norm.weight, norm.bias, kAffineNormEps, result,
               stat(trace.end_norm.mean, n_), stat(trace.end_norm.rstd, n_));
    if (model_.output) {
      const auto projected = rows_of(t_.dhidden, n_, p_.output);
      linear(ctx_, result, model_.output.weight, {.bias = model_.output.bias}, projected);
      result = projected;
    }
    head_there(trace, result, frame(t_.latents, pass.newest + 1));
  }

  // dlatents of the pass's prediction to those of its frames from `history` on, and to dmodulation
  void back(const RolloutPass& pass, std::size_t index, bool last_of_window, i64 history) {
    const PassTrace& trace = t_.passes[index];
    const i64 frames = pass.frames();
    if (last_of_window) {
      for (const auto& dqkv : t_.dqkv) fill(ctx_, 0.0f, dqkv.flat());
    }
    const auto dx = rows_of(t_.dx, frames * n_, p_.hidden);
    fill(ctx_, 0.0f, dx.flat());
    View<float, 2> dresult = head_back(trace, frame(t_.dlatents, pass.newest + 1));
    if (back_.output) {
      const auto dnormed = rows_of(t_.narrow, n_, p_.hidden);
      linear(ctx_, dresult, back_.output, {}, dnormed);
      dresult = dnormed;
    }
    layer_norm_backward(ctx_, rows_of(trace.end, n_, p_.hidden),
                        model_.tensors().predictor.norm.weight, stat(trace.end_norm.mean, n_),
                        stat(trace.end_norm.rstd, n_), dresult, false,
                        dx.slice(0, (frames - 1) * n_, frames * n_), {}, {});
    for (i64 layer = p_.depth; layer-- > 0;) layer_back(pass, index, layer);

    View<float, 2> dplaced = dx;
    if (back_.input) {
      dplaced = rows_of(t_.dnarrow, frames * n_, p_.input);
      linear(ctx_, dx, back_.input, {}, dplaced);
    }
    // frames of the context are given
    const i64 from = std::max(pass.first, history);
    if (from > pass.newest) return;
    const auto to = frames_of(t_.dlatents, from, pass.newest + 1);
    add_to(ctx_,
           as_block(View<const float, 2>(dplaced.slice(0, (from - pass.first) * n_, frames * n_))),
           as_block(to));
  }

 private:
  static View<float, 1> stat(View<float, 1> values, i64 rows) { return values.slice(0, 0, rows); }

  // frames [begin, end) of a [time, n, width] buffer, as rows
  View<float, 2> frames_of(View<float, 3> buffer, i64 begin, i64 end) const {
    const i64 width = buffer.size(2);
    return View<float, 2>(buffer.data() + begin * n_ * width, {(end - begin) * n_, width});
  }
  View<float, 2> frame(View<float, 3> buffer, i64 index) const {
    return frames_of(buffer, index, index + 1);
  }

  // one part of the modulation rows of frames [begin, end)
  View<float, 2> part(View<float, 3> modulation, i64 begin, i64 end, Part which) const {
    return frames_of(modulation, begin, end).slice(1, which * p_.hidden, (which + 1) * p_.hidden);
  }

  // part 0, 1 or 2 (queries, keys, values) of [time, n, 3 inner] from frame `begin` on, by head
  View<float, 4> heads(View<float, 3> qkv, i64 begin, i64 count, i64 which) const {
    const i64 row = 3 * p_.inner();
    return View<float, 4>(qkv.data() + begin * n_ * row + which * p_.inner(),
                          {n_, count, p_.heads, p_.head_dim}, {row, n_ * row, p_.head_dim, 1});
  }
  View<float, 4> heads(View<float, 2> attended, i64 count) const {
    const i64 row = p_.inner();
    return View<float, 4>(attended.data(), {n_, count, p_.heads, p_.head_dim},
                          {row, n_ * row, p_.head_dim, 1});
  }
  float attention_scale() const { return 1.0f / std::sqrt(static_cast<float>(p_.head_dim)); }
  i64 queries_of(const RolloutPass& pass, i64 layer) const {
    return layer + 1 == p_.depth ? 1 : pass.frames();
  }

  // latents + positions, through the input projection
  void enter(const RolloutPass& pass, const PassTrace& trace) {
    const i64 rows = pass.frames() * n_;
    const auto x = rows_of(trace.layers[0].x, rows, p_.hidden);
    const auto placed = model_.input ? rows_of(t_.narrow, rows, p_.input) : x;
    const View<const float, 3> positions(
        model_.tensors().predictor.positions.data() + (pass.first - pass.left) * p_.input,
        {pass.frames(), n_, p_.input}, {p_.input, 0, 1});
    add(ctx_, View<const float, 3>(frame(t_.latents, pass.first).data(), positions.sizes()),
        positions, View<float, 3>(placed.data(), positions.sizes()));
    if (model_.input) linear(ctx_, placed, model_.input.weight, {.bias = model_.input.bias}, x);
  }

  void layer_there(const RolloutPass& pass, std::size_t index, i64 layer) {
    LayerTrace& trace = t_.passes[index].layers[at(layer)];
    const Model::PredictorBlock& map = model_.predictor[at(layer)];
    const PredictorLayer& norms = model_.tensors().predictor.layers[at(layer)];
    const i64 dim = p_.hidden, frames = pass.frames(), queries = queries_of(pass, layer);
    const i64 all = frames * n_, rows = queries * n_, end = pass.newest + 1;
    const View<float, 3> modulation = t_.modulation[at(layer)];
    const auto cube = [](View<float, 2> view) { return as_block(view); };

    // norm(modulate(norm(x))), then queries, keys and values at their places in the window
    const auto x = rows_of(trace.x, all, dim);
    const auto plain = rows_of(trace.plain, all, dim);
    const auto modulated = rows_of(trace.modulated, all, dim);
    const auto normed = rows_of(t_.narrow, all, dim);
    layer_norm(ctx_, x, {}, {}, kBareNormEps, plain, stat(trace.bare.mean, all),
               stat(trace.bare.rstd, all));
    modulate(ctx_, cube(plain), cube(part(modulation, pass.first, end, shift_attention)),
             cube(part(modulation, pass.first, end, scale_attention)), cube(modulated));
    layer_norm(ctx_, modulated, norms.attention_norm.weight, norms.attention_norm.bias,
               kAffineNormEps, normed, stat(trace.affine.mean, all), stat(trace.affine.rstd, all));
    const View<float, 3> qkv = window_of(index, layer);
    linear(ctx_, normed, map.qkv.weight, {}, frames_of(qkv, pass.first - pass.left, pass.keys()));

    const auto attended = rows_of(trace.attended, rows, p_.inner());
    attention(ctx_, heads(qkv, pass.keys() - queries, queries, 0), heads(qkv, 0, pass.keys(), 1),
              heads(qkv, 0, pass.keys(), 2), attention_scale(), true, heads(attended, queries),
              log_sum_of(trace, queries));
    View<float, 2> branch = attended;
    if (map.out) {
      branch = rows_of(trace.branch, rows, dim);
      linear(ctx_, attended, map.out.weight, {.bias = map.out.bias}, branch);
    }
    const auto middle = rows_of(trace.middle, rows, dim);
    gated_add(ctx_, cube(x.slice(0, all - rows, all)),
              cube(part(modulation, end - queries, end, gate_attention)), cube(branch),
              cube(middle));

    // the same around the MLP
    const auto mlp_plain = rows_of(trace.mlp_plain, rows, dim);
    const auto mlp_modulated = rows_of(trace.mlp_modulated, rows, dim);
    const auto mlp_normed = rows_of(t_.narrow, rows, dim);
    const auto wide = rows_of(trace.wide, rows, p_.mlp);
    const auto active = rows_of(t_.wide, rows, p_.mlp);
    const auto mlp_branch = rows_of(trace.mlp_branch, rows, dim);
    layer_norm(ctx_, middle, {}, {}, kBareNormEps, mlp_plain, stat(trace.mlp_bare.mean, rows),
               stat(trace.mlp_bare.rstd, rows));
    modulate(ctx_, cube(mlp_plain), cube(part(modulation, end - queries, end, shift_mlp)),
             cube(part(modulation, end - queries, end, scale_mlp)), cube(mlp_modulated));
    layer_norm(ctx_, mlp_modulated, norms.mlp_norm.weight, norms.mlp_norm.bias, kAffineNormEps,
               mlp_normed, stat(trace.mlp_affine.mean, rows), stat(trace.mlp_affine.rstd, rows));
    linear(ctx_, mlp_normed, map.up.weight, {.bias = map.up.bias}, wide);
    activate(ctx_, Activation::gelu, wide.flat(), active.flat());
    linear(ctx_, active, map.down.weight, {.bias = map.down.bias}, mlp_branch);

    PassTrace& whole = t_.passes[index];
    const auto y =
        rows_of(layer + 1 == p_.depth ? whole.end : whole.layers[at(layer + 1)].x, rows, dim);
    gated_add(ctx_, cube(middle), cube(part(modulation, end - queries, end, gate_mlp)),
              cube(mlp_branch), cube(y));
  }

  // t_.dx holds the gradient of the layer's result, [F n, D] with zeros for frames that it does not
  // have, and becomes that of what came in
  void layer_back(const RolloutPass& pass, std::size_t index, i64 layer) {
    const LayerTrace& trace = t_.passes[index].layers[at(layer)];
    const BackwardWeights::Layer& map = back_.layers[at(layer)];
    const PredictorLayer& norms = model_.tensors().predictor.layers[at(layer)];
    const i64 dim = p_.hidden, frames = pass.frames(), queries = queries_of(pass, layer);
    const i64 all = frames * n_, rows = queries * n_, end = pass.newest + 1;
    const View<float, 3> modulation = t_.modulation[at(layer)];
    const auto cube = [](View<float, 2> view) { return as_block(view); };
    const auto stored = [&](View<float, 2> view, i64 count) { return rows_of(view, count, dim); };

    const auto dx = stored(t_.dx, all);
    const auto dy = dx.slice(0, all - rows, all);
    const auto dmodulation = rows_of(t_.dmodulation_now, all, 6 * dim);
    if (rows < all) fill(ctx_, 0.0f, dmodulation.flat());
    const auto dpart = [&](Part which, i64 count) {
      return cube(dmodulation.slice(0, all - count, all).slice(1, which * dim, (which + 1) * dim));
    };

    // the MLP's half
    const auto dbranch = stored(t_.branch, rows);
    const auto dnarrow = stored(t_.dnarrow, rows);
    const auto dwide = rows_of(t_.wide, rows, p_.mlp);
    gated_add_backward(ctx_, cube(part(modulation, end - queries, end, gate_mlp)),
                       cube(stored(trace.mlp_branch, rows)), cube(dy), dpart(gate_mlp, rows),
                       cube(dbranch));
    linear(ctx_, dbranch, map.down, {}, dwide);
    activate_backward(ctx_, Activation::gelu, rows_of(trace.wide, rows, p_.mlp).flat(),
                      dwide.flat(), dwide.flat());
    linear(ctx_, dwide, map.up, {}, dnarrow);
    layer_norm_backward(ctx_, stored(trace.mlp_modulated, rows), norms.mlp_norm.weight,
                        stat(trace.mlp_affine.mean, rows), stat(trace.mlp_affine.rstd, rows),
                        dnarrow, false, dnarrow, {}, {});
    modulate_backward(ctx_, cube(stored(trace.mlp_plain, rows)),
                      cube(part(modulation, end - queries, end, scale_mlp)), cube(dnarrow),
                      cube(dnarrow), dpart(shift_mlp, rows), dpart(scale_mlp, rows));
    layer_norm_backward(ctx_, stored(trace.middle, rows), {}, stat(trace.mlp_bare.mean, rows),
                        stat(trace.mlp_bare.rstd, rows), dnarrow, true, dy, {}, {});

    // attention: what its keys and values owe to later frames of the window is in dqkv already
    gated_add_backward(
        ctx_, cube(part(modulation, end - queries, end, gate_attention)),
        cube(map.out ? stored(trace.branch, rows) : rows_of(trace.attended, rows, dim)), cube(dy),
        dpart(gate_attention, rows), cube(dbranch));
    View<float, 2> dattended = dbranch;
    if (map.out) {
      dattended = rows_of(t_.attended, rows, p_.inner());
      linear(ctx_, dbranch, map.out, {}, dattended);
    }
    attention_there_and_back(pass, index, layer, trace, dattended);

    const auto dnormed = stored(t_.dnarrow, all);
    linear(ctx_, frames_of(t_.dqkv[at(layer)], pass.first - pass.left, pass.keys()), map.qkv, {},
           dnormed);
    layer_norm_backward(ctx_, stored(trace.modulated, all), norms.attention_norm.weight,
                        stat(trace.affine.mean, all), stat(trace.affine.rstd, all), dnormed, false,
                        dnormed, {}, {});
    modulate_backward(ctx_, cube(stored(trace.plain, all)),
                      cube(part(modulation, pass.first, end, scale_attention)), cube(dnormed),
                      cube(dnormed), dpart(shift_attention, all), dpart(scale_attention, all));
    layer_norm_backward(ctx_, stored(trace.x, all), {}, stat(trace.bare.mean, all),
                        stat(trace.bare.rstd, all), dnormed, true, dx, {}, {});

    add_to(ctx_, as_block(View<const float, 2>(dmodulation)),
           cube(frames_of(t_.dmodulation[at(layer)], pass.first, end)));
  }

  void attention_there_and_back(const RolloutPass& pass, std::size_t index, i64 layer,
                                const LayerTrace& trace, View<float, 2> dattended) {
    const i64 queries = queries_of(pass, layer), keys = pass.keys(), from = keys - queries;
    const View<float, 3> qkv = window_of(index, layer), sums = t_.dqkv[at(layer)];
    const View<float, 3> now = t_.dqkv_now;
    attention_backward(
        ctx_, heads(qkv, from, queries, 0), heads(qkv, 0, keys, 1), heads(qkv, 0, keys, 2),
        attention_scale(), true, heads(rows_of(trace.attended, queries * n_, p_.inner()), queries),
        log_sum_of(trace, queries), heads(dattended, queries), heads(now, from, queries, 0),
        heads(now, 0, keys, 1), heads(now, 0, keys, 2));
    // each query is one pass's, keys and values are everybody's
    const i64 inner = p_.inner();
    const auto columns = [&](View<float, 3> rows, i64 begin, i64 first, i64 last) {
      return as_block(frames_of(rows, begin, keys).slice(1, first * inner, last * inner));
    };
    add_to(ctx_, columns(now, from, 0, 1), columns(sums, from, 0, 1));
    add_to(ctx_, columns(now, 0, 1, 3), columns(sums, 0, 1, 3));
  }

  View<float, 3> log_sum_of(const LayerTrace& trace, i64 queries) const {
    return View<float, 3>(trace.log_sum.data(), {n_, p_.heads, queries});
  }

  // queries, keys and values of a pass's window, its left edge first
  View<float, 3> window_of(std::size_t index, i64 layer) const {
    const View<float, 3> all = t_.qkv[at(layer)];
    const i64 begin = t_.window_begins[index];
    return View<float, 3>(all.data() + begin * n_ * all.size(2),
                          {all.size(0) - begin, n_, all.size(2)});
  }

  void head_there(const PassTrace& trace, View<const float, 2> x, View<float, 2> y) {
    const PackedHead& head = model_.pred_proj;
    if (!head) return copy(ctx_, as_block(x), as_block(y));
    const i64 hidden = trace.head_wide.size(1);
    const auto wide = rows_of(trace.head_wide, n_, hidden);
    const auto normed = rows_of(trace.head_normed, n_, hidden);
    const auto active = rows_of(t_.wide, n_, hidden);
    linear(ctx_, x, head.up.weight, {.bias = head.up.bias}, wide);
    if (head.norm_gain) {
      layer_norm(ctx_, wide, head.norm_gain, head.norm_bias, kAffineNormEps, normed,
                 stat(trace.head_norm.mean, n_), stat(trace.head_norm.rstd, n_));
    }
    activate(ctx_, head.activation, normed.flat(), active.flat());
    linear(ctx_, active, head.down.weight, {.bias = head.down.bias}, y);
  }

  View<float, 2> head_back(const PassTrace& trace, View<float, 2> dy) {
    const PackedHead& head = model_.pred_proj;
    if (!head) return dy;
    const i64 hidden = trace.head_wide.size(1);
    const auto dhidden = rows_of(t_.wide, n_, hidden);
    linear(ctx_, dy, back_.head_down, {}, dhidden);
    activate_backward(ctx_, head.activation, rows_of(trace.head_normed, n_, hidden).flat(),
                      dhidden.flat(), dhidden.flat());
    if (head.norm_gain) {
      layer_norm_backward(ctx_, rows_of(trace.head_wide, n_, hidden), head.norm_gain,
                          stat(trace.head_norm.mean, n_), stat(trace.head_norm.rstd, n_), dhidden,
                          false, dhidden, {}, {});
    }
    const auto dx = rows_of(t_.dhidden, n_, model_.config().pred_proj.input);
    linear(ctx_, dhidden, back_.head_up, {}, dx);
    return dx;
  }

  Context& ctx_;
  const Model& model_;
  const PredictorConfig& p_;
  const BackwardWeights& back_;
  RolloutTrace& t_;
  i64 n_;
};

// How environments x samples are cut into pieces: whole environments where several fit, else parts
// of one; enough pieces for the team.
class Cut {
 public:
  Cut(i64 environments, i64 samples, i64 chunk, i64 threads) : environments_(environments) {
    samples_ = samples;
    const i64 share = (environments * samples + threads - 1) / threads;
    const i64 rows = std::min(chunk, std::max(share, kSmallestChunk));
    group_ = std::clamp<i64>(rows / samples, 1, environments);
    parts_ = (samples + rows - 1) / rows;
    part_ = (samples + parts_ - 1) / parts_;
  }
  i64 size() const { return (environments_ + group_ - 1) / group_ * parts_; }
  RolloutPiece operator[](i64 index) const {
    const i64 environment = index / parts_ * group_;
    const i64 sample = std::min(index % parts_ * part_, samples_);
    return {environment, std::min(group_, environments_ - environment), sample,
            std::min(part_, samples_ - sample)};
  }

 private:
  i64 environments_, samples_ = 0, group_ = 0, part_ = 0, parts_ = 0;
};

// the inputs of a piece, time first
void gather(const RolloutInput& input, const RolloutPiece& piece, RolloutTrace& trace) {
  const i64 rows = piece.rows(), blocks = input.actions.size(2), width = input.actions.size(3);
  const i64 shared = input.prefix ? input.prefix.size(1) : 0;
  const auto spread = [&](View<const float, 3> from, View<float, 3> to) {
    const i64 dim = from.size(2);
    for (i64 t = 0; t < from.size(1); ++t) {
      for (i64 r = 0; r < rows; ++r) {
        const i64 e = piece.first_environment + r / piece.samples;
        std::copy_n(from[e][t].data(), dim, to.data() + (t * rows + r) * dim);
      }
    }
  };
  spread(input.context, trace.latents);
  if (shared > 0) spread(input.prefix, trace.actions);
  for (i64 t = 0; t < blocks; ++t) {
    for (i64 r = 0; r < rows; ++r) {
      const i64 e = piece.first_environment + r / piece.samples;
      const i64 s = piece.first_sample + r % piece.samples;
      std::copy_n(&input.actions(e, s, t, 0), width,
                  trace.actions.data() + ((shared + t) * rows + r) * width);
    }
  }
}

void scatter(const RolloutTrace& trace, i64 shared, const RolloutPiece& piece,
             View<float, 4> gradient) {
  const i64 rows = piece.rows(), width = gradient.size(3);
  for (i64 r = 0; r < rows; ++r) {
    const i64 e = piece.first_environment + r / piece.samples;
    const i64 s = piece.first_sample + r % piece.samples;
    for (i64 t = 0; t < gradient.size(2); ++t) {
      const float* from = trace.dactions.data() + ((shared + t) * rows + r) * width;
      float* to = &gradient(e, s, t, 0);
      for (i64 a = 0; a < width; ++a) to[a] += from[a];
    }
  }
}

}  // namespace

RolloutGradient::RolloutGradient(Context& ctx, const Model& model, RolloutSizes sizes)
    : model_(model), sizes_(sizes) {
  check(ctx.device() == Device::cpu && !model.narrow_predictor(),
        "gradients of a rollout are computed on the CPU in f32, ", name_of(ctx.device()), " and ",
        name_of(model.precision()), " were given");
  check(sizes.samples >= 1 && sizes.environments >= 1 && sizes.history >= 1 &&
            sizes.blocks >= sizes.history,
        "gradients of a rollout: ", sizes.samples, " samples of ", sizes.environments,
        " environments, ", sizes.history, " context frames and ", sizes.blocks,
        " blocks; at least one of each and a block for every frame were needed");
  weights_ = backward_weights(ctx, model);
  passes_ = passes_of(model.config().predictor.window, sizes.history, sizes.blocks);
  chunk_ = std::min(kLargestChunk, sizes.environments * sizes.samples);
  workers_.resize(static_cast<std::size_t>(ctx.threads()));
  Arena measure;
  for (auto& worker : workers_) {
    lay_out(measure, model.config(), sizes, passes_, chunk_, worker);
  }
  memory_ = Block(measure.used());
  Arena arena(memory_);
  for (auto& worker : workers_) lay_out(arena, model.config(), sizes, passes_, chunk_, worker);
}

void RolloutGradient::add(Context& ctx, const RolloutInput& input, LatentSlopes slopes,
                          View<float, 4> gradient) {
  const Config& config = model_.config();
  const auto& [context, prefix, actions] = input;
  const i64 environments = actions.size(0), samples = actions.size(1), dim = config.latent();
  const i64 history = context.size(1), shared = prefix ? prefix.size(1) : 0;
  const i64 blocks = shared + actions.size(2);
  check(context.size(2) == dim && actions.size(3) == config.action.input &&
            (!prefix || prefix.size(2) == config.action.input),
        "gradients of a rollout: context is ", context.shape(), ", actions ", actions.shape(),
        "; the model's latents have ", dim, " numbers, its blocks ", config.action.input);
  check(context.size(0) == environments && (!prefix || prefix.size(0) == environments),
        "gradients of a rollout: candidates of ", environments, " environments, contexts of ",
        context.size(0));
  check(history == sizes_.history && (shared == 0 || shared == history - 1) && blocks >= history &&
            blocks <= sizes_.blocks && environments <= sizes_.environments &&
            samples <= sizes_.samples,
        "gradients of a rollout: ", environments, " environments, ", samples, " samples, ", history,
        " context frames and ", blocks, " blocks, ", shared, " of them shared; made for ",
        sizes_.environments, ", ", sizes_.samples, ", ", sizes_.history, " and ", sizes_.blocks);
  check(gradient.sizes() == actions.sizes() && gradient.contiguous() && actions.contiguous() &&
            context.contiguous() && (!prefix || prefix.contiguous()),
        "gradients of a rollout: gradient is ", gradient.shape(), ", ", actions.shape(),
        " was needed, all contiguous");

  const auto count = static_cast<std::size_t>(blocks - history + 1);
  const Cut pieces(environments, samples, chunk_, ctx.threads());
  ctx.parallel(pieces.size(), [&](i64 index, int worker) {
    const RolloutPiece piece = pieces[index];
    const i64 n = piece.rows();
    if (n <= 0) return;
    RolloutTrace& trace = workers_[static_cast<std::size_t>(worker)];
    Walk walk(ctx, model_, weights_, trace, n);
    gather(input, piece, trace);
    walk.modulate_blocks(blocks);
    for (std::size_t i = 0; i < count; ++i) walk.there(passes_[i], i);

    const i64 end = blocks * n * dim;  // the last prediction
    std::fill_n(trace.dlatents.data(), end + n * dim, 0.0f);
    for (const auto& dmodulation : trace.dmodulation) {
      std::fill_n(dmodulation.data(), blocks * n * dmodulation.size(2), 0.0f);
    }
    const View<const float, 3>::Sizes last = {piece.environments, piece.samples, dim};
    slopes(piece, View<const float, 3>(trace.latents.data() + end, last),
           View<float, 3>(trace.dlatents.data() + end, last));
    for (std::size_t i = count; i-- > 0;) {
      const bool last_of_window = i + 1 == count || passes_[i + 1].left != passes_[i].left;
      walk.back(passes_[i], i, last_of_window, history);
    }
    walk.modulate_blocks_back(shared, blocks);
    scatter(trace, shared, piece, gradient);
  });
}

}  // namespace orrery::lewm
