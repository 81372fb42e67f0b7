#include "ops/batch_norm.h"

#include "ops/rows_device.h"

namespace orrery::cuda {

namespace {

struct Apply {
  const float *x, *gain, *bias, *mean, *var;
  float eps;
  float* y;
  i64 dim;

  template <bool kAligned>
  __device__ void four(i64, i64 row, i64 k, i64 count) const {
    Four value = load_four<kAligned>(x + row * dim + k, count);
    const Four center = load_four<kAligned>(mean + k, count);
    const Four spread = load_four<kAligned>(var + k, count);
    const Four times = load_four<kAligned>(gain + k, count);
    const Four plus = load_four<kAligned>(bias + k, count);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const float normed = (value.v[n] - center.v[n]) / sqrtf(spread.v[n] + eps);
      value.v[n] = fmaf(normed, times.v[n], plus.v[n]);
    }
    store_four<kAligned>(value, y + row * dim + k, count);
  }
};

}  // namespace

void batch_norm_apply(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                      View<const float, 1> bias, View<const float, 1> running_mean,
                      View<const float, 1> running_var, float eps, View<float, 2> y) {
  const i64 dim = x.size(1);
  const bool aligned = in_fours(x) && in_fours(y) && in_fours(gain) && in_fours(bias) &&
                       in_fours(running_mean) && in_fours(running_var);
  pass_over_rows(ctx, "batch_norm_apply", aligned, 1, x.size(0), dim,
                 Apply{x.data(), gain.data(), bias.data(), running_mean.data(), running_var.data(),
                       eps, y.data(), dim});
}

}  // namespace orrery::cuda
