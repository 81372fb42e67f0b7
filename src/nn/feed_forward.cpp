#include "nn/feed_forward.h"

#include "ops/activation.h"
#include "ops/layer_norm.h"

namespace orrery::nn {

FeedForwardState take_feed_forward(Arena& arena, i64 rows, i64 dim, i64 mlp) {
  FeedForwardState state;
  state.normed = arena.take<float, 2>({rows, dim});
  state.mean = arena.take<float, 1>({rows});
  state.rstd = arena.take<float, 1>({rows});
  state.wide = arena.take<float, 2>({rows, mlp});
  state.active = arena.take<float, 2>({rows, mlp});
  return state;
}

void feed_forward(Context& ctx, Precision precision, const FeedForward& layer, float eps,
                  const FeedForwardDropout& drop, View<const float, 2> x, FeedForwardState& state,
                  View<const float, 2> residual, View<float, 2> y) {
  check(drop.out.rate == 0.0f || !residual, "feed_forward: dropout and a residual exclude another");
  layer_norm(ctx, x, layer.norm.weight, layer.norm.bias, eps, state.normed, state.mean, state.rstd);
  dense(ctx, precision, layer.up, state.normed, state.wide);
  activate(ctx, Activation::gelu, state.wide.flat(), state.active.flat());
  if (drop.wide.rate > 0) dropout(ctx, drop.wide, state.active.flat(), state.active.flat());
  dense(ctx, precision, layer.down, state.active, y, residual);
  if (drop.out.rate > 0) dropout(ctx, drop.out, y.flat(), y.flat());
}

void feed_forward_backward(Context& ctx, Precision precision, const FeedForward& layer,
                           const FeedForward& gradient, const FeedForwardDropout& drop,
                           View<const float, 2> x, const FeedForwardState& state, View<float, 2> dy,
                           bool accumulate_dx, View<float, 2> dx, View<float, 2> dnormed,
                           View<float, 2> dwide) {
  if (drop.out.rate > 0) dropout(ctx, drop.out, dy.flat(), dy.flat());
  dense_backward(ctx, precision, layer.down, gradient.down, state.active, dy, dwide);
  if (drop.wide.rate > 0) dropout(ctx, drop.wide, dwide.flat(), dwide.flat());
  activate_backward(ctx, Activation::gelu, state.wide.flat(), dwide.flat(), dwide.flat());
  dense_backward(ctx, precision, layer.up, gradient.up, state.normed, dwide, dnormed);
  layer_norm_backward(ctx, x, layer.norm.weight, state.mean, state.rstd, dnormed, accumulate_dx, dx,
                      gradient.norm.weight, gradient.norm.bias);
}

}  // namespace orrery::nn
