#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// Which elements training forgets: a pure function of (seed, stream, element), so the backward pass
// draws the same mask again instead of storing it. A rate of 0 switches it off.
struct Dropout {
  float rate = 0.0f;  // in [0, 1)
  u64 seed = 0;
  u64 stream = 0;
  i64 first = 0;  // place in the mask of element 0 here, where others have what comes before
  // CUDA only: the stream's number lies here, in the device's memory, and is read when the mask is
  // drawn, so that captured work draws another one each time
  const u64* stream_there = nullptr;
};

// y[i] = kept_i ? x[i] / (1 - rate) : 0, kept_i with probability 1 - rate; also its own backward:
// dx = dropout(dy). x, y contiguous, same size; y may be x. steady
void dropout(Context& ctx, const Dropout& settings, View<const float, 1> x, View<float, 1> y);

// The attention of attention.h with dropout on the probabilities, for short windows: plain loops.
// Element (b, h, t, s) has index ((b * heads + h) * queries + t) * keys + s. On a CUDA device at
// most 16 queries and keys, of at most 128 values.
//
// tolerant as attention; steady
void attention_dropout(Context& ctx, const Dropout& settings, View<const float, 4> q,
                       View<const float, 4> k, View<const float, 4> v, float scale, bool causal,
                       View<float, 4> out);
void attention_dropout_backward(Context& ctx, const Dropout& settings, View<const float, 4> q,
                                View<const float, 4> k, View<const float, 4> v, float scale,
                                bool causal, View<const float, 4> dout, View<float, 4> dq,
                                View<float, 4> dk, View<float, 4> dv);

}  // namespace orrery
