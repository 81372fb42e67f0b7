#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// One number that a linear read-out is asked for, made of a number x of a recorded row.
struct ReadoutTarget {
  enum class Kind : i32 { scaled, cosine, sine };
  i32 place = 0;  // of x in its row
  Kind kind = Kind::scaled;
  float mean = 0,
        scale = 1;  // scaled: (x - mean) / scale; cosine, sine: sqrt(2) cos x, sqrt(2) sin x
};

// wanted[r, y] = targets[y] of rows[r, :], and guess[r, y] where that is not a number: such a
// target has neither an error nor a slope.
//
//   rows            [R, N] contiguous
//   targets         [Y], their places below N: for the caller to have right
//   guess, wanted   [R, Y] contiguous
//
// All of it lies where the context works. Sines and cosines in double, rounded once: within one
// rounding of each other on all backends, the rest exact
void readout_targets(Context& ctx, View<const float, 2> rows, View<const ReadoutTarget, 1> targets,
                     View<const float, 2> guess, View<float, 2> wanted);

}  // namespace orrery
