#pragma once

#include "base/bf16.h"
#include "base/e4m3.h"
#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// Each row as codes times a scale of its own:
//   scale[r] = max_i |x[r, i]| / L,   codes[r, i] = round(x[r, i] * (L / max_i |x[r, i]|))
// with L = 127 for int8 and 448, the largest, for E4M3; rounded to nearest, ties to even. A row of
// zeros, or of nothing
// above 1e-36, gets scale 0 and codes 0; a row that holds NaN or infinity scale NaN and codes 0.
//
//   x        [rows, inputs]   last dimension contiguous
//   codes    [rows, inputs]   last dimension contiguous, any row stride; not x
//   scales   [rows]
//
// exact
void quantize_rows(Context& ctx, View<const float, 2> x, View<i8, 2> codes, View<float, 1> scales);
void quantize_rows(Context& ctx, View<const float, 2> x, View<e4m3, 2> codes,
                   View<float, 1> scales);
void quantize_rows(Context& ctx, View<const bf16, 2> x, View<i8, 2> codes, View<float, 1> scales);
void quantize_rows(Context& ctx, View<const bf16, 2> x, View<e4m3, 2> codes, View<float, 1> scales);

}  // namespace orrery
