#include "ops/batch_norm.h"

namespace orrery {

namespace cpu {
void batch_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, float momentum, View<float, 1> running_mean,
                View<float, 1> running_var, View<float, 2> y, View<float, 1> mean,
                View<float, 1> rstd, const BatchShare& share);
void batch_norm_backward(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                         View<const float, 1> mean, View<const float, 1> rstd,
                         View<const float, 2> dy, View<float, 2> dx, View<float, 1> dgain,
                         View<float, 1> dbias, const BatchShare& share);
void batch_norm_apply(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                      View<const float, 1> bias, View<const float, 1> running_mean,
                      View<const float, 1> running_var, float eps, View<float, 2> y);
}  // namespace cpu
namespace cuda {
void batch_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, float momentum, View<float, 1> running_mean,
                View<float, 1> running_var, View<float, 2> y, View<float, 1> mean,
                View<float, 1> rstd, const BatchShare& share);
void batch_norm_backward(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                         View<const float, 1> mean, View<const float, 1> rstd,
                         View<const float, 2> dy, View<float, 2> dx, View<float, 1> dgain,
                         View<float, 1> dbias, const BatchShare& share);
void batch_norm_apply(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                      View<const float, 1> bias, View<const float, 1> running_mean,
                      View<const float, 1> running_var, float eps, View<float, 2> y);
}  // namespace cuda

namespace {

void check_column(const char* op, const char* name, View<const float, 1> values, i64 dim) {
  check(values.size(0) == dim && values.contiguous(), op, ": ", name, " has ", values.size(0),
        " values, ", dim, " beside each other were needed");
}

void check_rows(const char* op, const char* name, View<const float, 2> values,
                View<const float, 2> x) {
  check(values.sizes() == x.sizes() && values.contiguous(), op, ": ", name, " is ", values.shape(),
        ", contiguous ", x.shape(), " was needed");
}

void check_batch(const char* op, View<const float, 2> x, const BatchShare& share) {
  const i64 rows = share.whole(x.size(0));
  check(rows >= 2, op, ": the batch has ", rows, " rows, statistics need at least 2");
  check(share.first + x.size(0) <= rows, op, ": x has rows ", share.first, " to ",
        share.first + x.size(0), " of a batch of ", rows);
}

}  // namespace

void batch_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, float momentum, View<float, 1> running_mean,
                View<float, 1> running_var, View<float, 2> y, View<float, 1> mean,
                View<float, 1> rstd, const BatchShare& share) {
  const i64 dim = x.size(1);
  check_batch("batch_norm", x, share);
  check_rows("batch_norm", "x", x, x);
  check_rows("batch_norm", "y", y, x);
  check(x.data() != y.data(), "batch_norm: y is x, which the backward pass needs");
  check_column("batch_norm", "gain", gain, dim);
  check_column("batch_norm", "bias", bias, dim);
  check_column("batch_norm", "running_mean", running_mean, dim);
  check_column("batch_norm", "running_var", running_var, dim);
  check_column("batch_norm", "mean", mean, dim);
  check_column("batch_norm", "rstd", rstd, dim);
  ORRERY_ON_DEVICE(ctx, batch_norm, x, gain, bias, eps, momentum, running_mean, running_var, y,
                   mean, rstd, share);
}

void batch_norm_backward(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                         View<const float, 1> mean, View<const float, 1> rstd,
                         View<const float, 2> dy, View<float, 2> dx, View<float, 1> dgain,
                         View<float, 1> dbias, const BatchShare& share) {
  const i64 dim = x.size(1);
  check_batch("batch_norm_backward", x, share);
  check_rows("batch_norm_backward", "x", x, x);
  check_rows("batch_norm_backward", "dy", dy, x);
  check_rows("batch_norm_backward", "dx", dx, x);
  check_column("batch_norm_backward", "gain", gain, dim);
  check_column("batch_norm_backward", "mean", mean, dim);
  check_column("batch_norm_backward", "rstd", rstd, dim);
  check_column("batch_norm_backward", "dgain", dgain, dim);
  check_column("batch_norm_backward", "dbias", dbias, dim);
  ORRERY_ON_DEVICE(ctx, batch_norm_backward, x, gain, mean, rstd, dy, dx, dgain, dbias, share);
}

void batch_norm_apply(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                      View<const float, 1> bias, View<const float, 1> running_mean,
                      View<const float, 1> running_var, float eps, View<float, 2> y) {
  const i64 dim = x.size(1);
  check_rows("batch_norm_apply", "x", x, x);
  check_rows("batch_norm_apply", "y", y, x);
  check_column("batch_norm_apply", "gain", gain, dim);
  check_column("batch_norm_apply", "bias", bias, dim);
  check_column("batch_norm_apply", "running_mean", running_mean, dim);
  check_column("batch_norm_apply", "running_var", running_var, dim);
  ORRERY_ON_DEVICE(ctx, batch_norm_apply, x, gain, bias, running_mean, running_var, eps, y);
}

}  // namespace orrery
