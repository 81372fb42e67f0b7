#include "models/lewm/rollout_trace.h"

#include <algorithm>

namespace orrery::lewm {

namespace {

std::size_t at(i64 index) { return static_cast<std::size_t>(index); }

NormTrace take_norm(Arena& arena, i64 rows) {
  return {arena.take<float, 1>({rows}), arena.take<float, 1>({rows})};
}

LayerTrace take_layer(Arena& arena, const PredictorConfig& p, i64 frames, i64 queries, i64 n) {
  const i64 all = frames * n, rows = queries * n;
  LayerTrace layer;
  for (auto* view : {&layer.x, &layer.plain, &layer.modulated}) {
    *view = arena.take<float, 2>({all, p.hidden});
  }
  layer.bare = take_norm(arena, all);
  layer.affine = take_norm(arena, all);
  layer.attended = arena.take<float, 2>({rows, p.inner()});
  layer.log_sum = arena.take<float, 3>({n, p.heads, queries});
  for (auto* view :
       {&layer.branch, &layer.middle, &layer.mlp_plain, &layer.mlp_modulated, &layer.mlp_branch}) {
    *view = arena.take<float, 2>({rows, p.hidden});
  }
  layer.mlp_bare = take_norm(arena, rows);
  layer.mlp_affine = take_norm(arena, rows);
  layer.wide = arena.take<float, 2>({rows, p.mlp});
  return layer;
}

// [frames, n, .] of qkv in all that the passes need, and where each begins
i64 place_windows(const std::vector<RolloutPass>& passes, std::vector<i64>& begins) {
  i64 end = 0, begin = 0;
  begins.clear();
  for (std::size_t i = 0; i < passes.size(); ++i) {
    if (i == 0 || passes[i].left != passes[i - 1].left) begin = end;
    begins.push_back(begin);
    end = begin + passes[i].keys();
  }
  return end;
}

}  // namespace

std::vector<RolloutPass> passes_of(i64 window, i64 history, i64 blocks) {
  std::vector<RolloutPass> passes;
  for (i64 newest = history - 1; newest < blocks; ++newest) {
    const i64 left = std::max<i64>(0, newest + 1 - window);
    const bool grew = !passes.empty() && passes.back().left == left;
    passes.push_back({left, grew ? newest : left, newest});
  }
  return passes;
}

void lay_out(Arena& arena, const Config& config, const RolloutSizes& sizes,
             const std::vector<RolloutPass>& passes, i64 n, RolloutTrace& trace) {
  const PredictorConfig& p = config.predictor;
  const ActionEncoderConfig& a = config.action;
  const i64 frames = sizes.blocks + 1, all = sizes.blocks * n, most = p.window * n;
  const i64 action_wide = a.mlp_scale * a.output;
  const auto rows = [&](i64 count, i64 width) { return arena.take<float, 2>({count, width}); };
  const auto per_layer = [&](i64 count, i64 width) {
    std::vector<View<float, 3>> views(at(p.depth));
    for (auto& view : views) view = arena.take<float, 3>({count, n, width});
    return views;
  };
  trace.actions = arena.take<float, 3>({sizes.blocks, n, a.input});
  trace.latents = arena.take<float, 3>({frames, n, config.latent()});
  trace.smoothed = rows(all, a.smoothed);
  trace.action_wide = rows(all, action_wide);
  trace.condition = rows(all, p.hidden);
  trace.modulation = per_layer(sizes.blocks, 6 * p.hidden);
  trace.qkv = per_layer(place_windows(passes, trace.window_begins), 3 * p.inner());

  trace.passes.assign(passes.size(), {});
  for (std::size_t i = 0; i < passes.size(); ++i) {
    PassTrace& pass = trace.passes[i];
    for (i64 layer = 0; layer < p.depth; ++layer) {
      const i64 queries = layer + 1 == p.depth ? 1 : passes[i].frames();
      pass.layers.push_back(take_layer(arena, p, passes[i].frames(), queries, n));
    }
    pass.end = rows(n, p.hidden);
    pass.end_norm = take_norm(arena, n);
    if (!config.pred_proj.present) continue;
    pass.head_wide = rows(n, config.pred_proj.hidden);
    pass.head_normed = pass.head_wide;
    if (config.pred_proj.norm == HeadConfig::Norm::layer) {
      pass.head_normed = rows(n, config.pred_proj.hidden);
      pass.head_norm = take_norm(arena, n);
    }
  }

  trace.action_active = rows(all, action_wide);
  trace.encoded = rows(all, std::max(a.output, p.input));
  trace.active = rows(all, p.hidden);
  trace.narrow = rows(most, std::max({p.hidden, p.input, p.output}));
  trace.branch = rows(most, p.hidden);
  trace.wide = rows(most, std::max(p.mlp, config.pred_proj.hidden));
  trace.attended = rows(most, p.inner());
  trace.dx = rows(most, p.hidden);
  trace.dmodulation_now = rows(most, 6 * p.hidden);
  trace.dhidden = rows(n, std::max(p.output, p.hidden));
  trace.dnarrow = rows(most, std::max(p.hidden, p.input));
  trace.dqkv_now = arena.take<float, 3>({p.window, n, 3 * p.inner()});
  trace.dlatents = arena.take<float, 3>({frames, n, config.latent()});
  trace.dmodulation = per_layer(sizes.blocks, 6 * p.hidden);
  trace.dqkv = per_layer(p.window, 3 * p.inner());
  trace.dactions = rows(all, a.input);
}

}  // namespace orrery::lewm
