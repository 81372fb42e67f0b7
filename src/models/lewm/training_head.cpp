#include "models/lewm/training_head.h"

#include "nn/dense.h"
#include "ops/batch_norm.h"
#include "ops/layer_norm.h"
#include "ops/strided.h"

namespace orrery::lewm {

namespace {

// PyTorch's defaults for both norms
constexpr float kNormEps = 1e-5f;
constexpr float kMomentum = 0.1f;

void copy_rows(Context& ctx, View<const float, 2> from, View<float, 2> to) {
  copy(ctx, from.reshaped<3>({1, from.size(0), from.size(1)}),
       to.reshaped<3>({1, to.size(0), to.size(1)}));
}

}  // namespace

HeadState take_head(Arena& arena, const HeadConfig& config, i64 rows, Precision precision) {
  HeadState state;
  state.precision = precision;
  if (!config.present) return state;
  state.wide = arena.take<float, 2>({rows, config.hidden});
  state.normed = state.wide;
  if (config.norm != HeadConfig::Norm::none) {
    const i64 count = config.norm == HeadConfig::Norm::batch ? config.hidden : rows;
    state.normed = arena.take<float, 2>({rows, config.hidden});
    state.mean = arena.take<float, 1>({count});
    state.rstd = arena.take<float, 1>({count});
  }
  state.active = arena.take<float, 2>({rows, config.hidden});
  state.dwide = arena.take<float, 2>({rows, config.hidden});
  return state;
}

void head_forward(Context& ctx, const HeadConfig& config, const Head& head, bool training,
                  const BatchShare& share, View<const float, 2> x, HeadState& state,
                  View<float, 2> y) {
  if (!config.present) return copy_rows(ctx, x, y);
  const nn::Norm& norm = head.norm;
  nn::dense(ctx, state.precision, head.up, x, state.wide);
  if (config.norm == HeadConfig::Norm::layer) {
    layer_norm(ctx, state.wide, norm.weight, norm.bias, kNormEps, state.normed, state.mean,
               state.rstd);
  } else if (config.norm == HeadConfig::Norm::batch && training) {
    batch_norm(ctx, state.wide, norm.weight, norm.bias, kNormEps, kMomentum, head.running_mean,
               head.running_var, state.normed, state.mean, state.rstd, share);
  } else if (config.norm == HeadConfig::Norm::batch) {
    batch_norm_apply(ctx, state.wide, norm.weight, norm.bias, head.running_mean, head.running_var,
                     kNormEps, state.normed);
  }
  activate(ctx, config.activation, state.normed.flat(), state.active.flat());
  nn::dense(ctx, state.precision, head.down, state.active, y);
}

void head_backward(Context& ctx, const HeadConfig& config, const Head& head, const Head& gradient,
                   const BatchShare& share, View<const float, 2> x, const HeadState& state,
                   View<const float, 2> dy, View<float, 2> dx) {
  if (!config.present) return copy_rows(ctx, dy, dx);
  nn::dense_backward(ctx, state.precision, head.down, gradient.down, state.active, dy, state.dwide);
  activate_backward(ctx, config.activation, state.normed.flat(), state.dwide.flat(),
                    state.dwide.flat());
  if (config.norm == HeadConfig::Norm::batch) {
    batch_norm_backward(ctx, state.wide, head.norm.weight, state.mean, state.rstd, state.dwide,
                        state.dwide, gradient.norm.weight, gradient.norm.bias, share);
  } else if (config.norm == HeadConfig::Norm::layer) {
    layer_norm_backward(ctx, state.wide, head.norm.weight, state.mean, state.rstd, state.dwide,
                        false, state.dwide, gradient.norm.weight, gradient.norm.bias);
  }
  nn::dense_backward(ctx, state.precision, head.up, gradient.up, x, state.dwide, dx);
}

}  // namespace orrery::lewm
