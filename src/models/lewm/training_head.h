#pragma once

#include "models/lewm/weights.h"
#include "ops/batch_share.h"
#include "ops/precision.h"
#include "tensor/arena.h"

namespace orrery::lewm {

// Training of projector and pred_proj: Linear, norm, activation, Linear. A head that is absent
// copies.
struct HeadState {
  Precision precision = Precision::f32;  // of products
  View<float, 2> wide;                   // [rows, hidden] before the norm
  View<float, 2> normed;                 // [rows, hidden]; without a norm the same memory as wide
  View<float, 2> active;                 // [rows, hidden]
  View<float, 1> mean, rstd;             // [hidden] for BatchNorm, [rows] for LayerNorm
  View<float, 2> dwide;                  // [rows, hidden] scratch
};

HeadState take_head(Arena& arena, const HeadConfig& config, i64 rows, Precision precision);

// y = head(x); training takes BatchNorm's statistics from the rows of the batch, of which x holds
// its share, and updates the running ones. x, y [rows, width] contiguous
void head_forward(Context& ctx, const HeadConfig& config, const Head& head, bool training,
                  const BatchShare& share, View<const float, 2> x, HeadState& state,
                  View<float, 2> y);

// dx = gradient with respect to x, stored; dx is not dy
void head_backward(Context& ctx, const HeadConfig& config, const Head& head, const Head& gradient,
                   const BatchShare& share, View<const float, 2> x, const HeadState& state,
                   View<const float, 2> dy, View<float, 2> dx);

}  // namespace orrery::lewm
