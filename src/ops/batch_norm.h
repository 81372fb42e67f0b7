#pragma once

#include "device/context.h"
#include "ops/batch_share.h"
#include "tensor/view.h"

namespace orrery {

// Training form of BatchNorm1d: statistics over the rows of the batch.
//
//   y[r, d] = (x[r, d] - mean_d) * rstd_d * gain_d + bias_d
//   rstd_d = 1 / sqrt(var_d + eps), var_d biased (divided by rows)
//   running_mean = (1 - momentum) * running_mean + momentum * mean
//   running_var  = (1 - momentum) * running_var  + momentum * var * rows / (rows - 1) (unbiased)
//
//   x, y         [rows, dim] contiguous; y may not be x (the backward needs x)
//   the rest     [dim]
//   mean, rstd   written, for the backward
//   share        which rows of the batch x holds; the batch has at least 2
//
// With a share, mean and var are of all rows of the batch, so every process finds the same ones.
//
// steady: sums over rows are taken in pieces of a fixed size
void batch_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, float momentum, View<float, 1> running_mean,
                View<float, 1> running_var, View<float, 2> y, View<float, 1> mean,
                View<float, 1> rstd, const BatchShare& share = {});

//   dx = gain * rstd * (dy - mean_r(dy) - n * mean_r(dy * n)), n the normalised x
//   dgain += sum dy * n;  dbias += sum dy
//
// dx may be dy. With a share the means are over the batch, and dgain and dbias get what the rows
// here add to them.
void batch_norm_backward(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                         View<const float, 1> mean, View<const float, 1> rstd,
                         View<const float, 2> dy, View<float, 2> dx, View<float, 1> dgain,
                         View<float, 1> dbias, const BatchShare& share = {});

// Inference form with running statistics: y = (x - mean) / sqrt(var + eps) * gain + bias, for
// models that do not fold it.
void batch_norm_apply(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                      View<const float, 1> bias, View<const float, 1> running_mean,
                      View<const float, 1> running_var, float eps, View<float, 2> y);

}  // namespace orrery
