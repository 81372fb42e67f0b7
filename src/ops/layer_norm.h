#pragma once

#include "base/bf16.h"
#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// y[r, :] = (x[r, :] - mean_r) * rstd_r * gain + bias,  rstd_r = 1 / sqrt(var_r + eps), var_r the
// mean squared deviation
//
//   x, y         [rows, dim]  last dimension contiguous; y may be x
//   gain, bias   [dim], both empty for a norm without affine
//   mean, rstd   [rows], written when not empty (training keeps them)
//
// tolerant: deviations are taken from the mean before squaring; within 4e-6 of the reference for
// values of unit size and dim < 1000, 1.2e-5 for dim <= 4096 (measured 9.7e-6 on a CPU without
// vectors)
void layer_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, View<float, 2> y, View<float, 1> mean = {},
                View<float, 1> rstd = {});

// The same with y rounded to bf16, for products that read it as such; y is not x.
void layer_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, View<bf16, 2> y, View<float, 1> mean = {},
                View<float, 1> rstd = {});

// With g = dy * gain and n the normalised x:
//   dx = rstd * (g - mean(g) - n * mean(g * n))       added to dx when accumulate_dx, else stored
//   dgain += sum_r dy * n,  dbias += sum_r dy         when not empty
//
// dx may be dy. steady
void layer_norm_backward(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                         View<const float, 1> mean, View<const float, 1> rstd,
                         View<const float, 2> dy, bool accumulate_dx, View<float, 2> dx,
                         View<float, 1> dgain, View<float, 1> dbias);

}  // namespace orrery
