#include "nn/feed_forward.h"

#include "ops/activation.h"
#include "ops/layer_norm.h"
#include "ops/multiply_bf16.h"
#include "ops/weight_gradient.h"

namespace orrery::nn {

namespace {

// dnormed and the gradients of both layers, given the slopes of the output
void wide_backward_bf16(Context& ctx, const FeedForward& layer, const FeedForward& gradient,
                        const FeedForwardState& state, View<const float, 2> dy,
                        View<float, 2> dnormed, View<bf16, 2> dwide) {
  const View<const bf16, 2> active = state.active_bf16;
  add_weight_gradient(ctx, Precision::bf16, dy, active, gradient.down.weight, gradient.down.bias);
  multiply_slopes_bf16(ctx, dy, View<const float, 2>(layer.down.weight), Activation::gelu,
                       state.wide_bf16, dwide);
  const View<const bf16, 2> slopes = dwide;
  const View<const bf16, 2> normed = state.normed_bf16;
  add_weight_gradient(ctx, Precision::bf16, slopes, normed, gradient.up.weight, gradient.up.bias);
  multiply_bf16(ctx, slopes, View<const float, 2>(layer.up.weight), {}, dnormed);
}

}  // namespace

FeedForwardState take_feed_forward(Arena& arena, i64 rows, i64 dim, i64 mlp, Precision kept) {
  FeedForwardState state;
  state.mean = arena.take<float, 1>({rows});
  state.rstd = arena.take<float, 1>({rows});
  state.kept = kept;
  if (kept == Precision::bf16) {
    state.normed_bf16 = arena.take<bf16, 2>({rows, dim});
    state.wide_bf16 = arena.take<bf16, 2>({rows, mlp});
    state.active_bf16 = arena.take<bf16, 2>({rows, mlp});
  } else {
    state.normed = arena.take<float, 2>({rows, dim});
    state.wide = arena.take<float, 2>({rows, mlp});
    state.active = arena.take<float, 2>({rows, mlp});
  }
  return state;
}

void feed_forward(Context& ctx, Precision precision, const FeedForward& layer, float eps,
                  const FeedForwardDropout& drop, View<const float, 2> x, FeedForwardState& state,
                  View<const float, 2> residual, View<float, 2> y) {
  check(drop.out.rate == 0.0f || !residual, "feed_forward: dropout and a residual exclude another");
  const Norm& norm = layer.norm;
  if (state.kept == Precision::bf16) {
    check(precision == Precision::bf16 && drop.wide.rate == 0.0f,
          "feed_forward: values kept as bf16 need products of bf16 and no dropout");
    layer_norm(ctx, x, norm.weight, norm.bias, eps, state.normed_bf16, state.mean, state.rstd);
    multiply_activate_bf16(ctx, View<const bf16, 2>(state.normed_bf16),
                           View<const float, 2>(layer.up.weight.transposed()), layer.up.bias,
                           Activation::gelu, state.wide_bf16, state.active_bf16);
    const View<const bf16, 2> active = state.active_bf16;
    multiply_bf16(ctx, active, View<const float, 2>(layer.down.weight.transposed()),
                  {.bias = layer.down.bias, .residual = residual}, y);
  } else {
    layer_norm(ctx, x, norm.weight, norm.bias, eps, state.normed, state.mean, state.rstd);
    dense(ctx, precision, layer.up, state.normed, state.wide);
    activate(ctx, Activation::gelu, state.wide.flat(), state.active.flat());
    if (drop.wide.rate > 0) dropout(ctx, drop.wide, state.active.flat(), state.active.flat());
    dense(ctx, precision, layer.down, state.active, y, residual);
  }
  if (drop.out.rate > 0) dropout(ctx, drop.out, y.flat(), y.flat());
}

void feed_forward_backward(Context& ctx, Precision precision, const FeedForward& layer,
                           const FeedForward& gradient, const FeedForwardDropout& drop,
                           View<const float, 2> x, const FeedForwardState& state, View<float, 2> dy,
                           bool accumulate_dx, View<float, 2> dx, View<float, 2> dnormed,
                           View<float, 2> dwide) {
  if (drop.out.rate > 0) dropout(ctx, drop.out, dy.flat(), dy.flat());
  if (state.kept == Precision::bf16) {
    // the scratch is taken at half its size
    const View<bf16, 2> slopes(reinterpret_cast<bf16*>(dwide.data()), dwide.sizes());
    wide_backward_bf16(ctx, layer, gradient, state, dy, dnormed, slopes);
  } else {
    dense_backward(ctx, precision, layer.down, gradient.down, state.active, dy, dwide);
    if (drop.wide.rate > 0) dropout(ctx, drop.wide, dwide.flat(), dwide.flat());
    activate_backward(ctx, Activation::gelu, state.wide.flat(), dwide.flat(), dwide.flat());
    dense_backward(ctx, precision, layer.up, gradient.up, state.normed, dwide, dnormed);
  }
  layer_norm_backward(ctx, x, layer.norm.weight, state.mean, state.rstd, dnormed, accumulate_dx, dx,
                      gradient.norm.weight, gradient.norm.bias);
}

}  // namespace orrery::nn
