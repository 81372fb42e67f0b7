#include "ops/layer_norm.h"

namespace orrery {

namespace cpu {
void layer_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, View<float, 2> y, View<float, 1> mean,
                View<float, 1> rstd);
void layer_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, View<bf16, 2> y, View<float, 1> mean,
                View<float, 1> rstd);
void layer_norm_backward(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                         View<const float, 1> mean, View<const float, 1> rstd,
                         View<const float, 2> dy, bool accumulate_dx, View<float, 2> dx,
                         View<float, 1> dgain, View<float, 1> dbias);
}  // namespace cpu
namespace cuda {
void layer_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, View<float, 2> y, View<float, 1> mean,
                View<float, 1> rstd);
void layer_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, View<bf16, 2> y, View<float, 1> mean,
                View<float, 1> rstd);
void layer_norm_backward(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                         View<const float, 1> mean, View<const float, 1> rstd,
                         View<const float, 2> dy, bool accumulate_dx, View<float, 2> dx,
                         View<float, 1> dgain, View<float, 1> dbias);
}  // namespace cuda

namespace {

template <typename T>
void check_size(View<T, 1> values, const char* name, i64 size, const char* op) {
  check(!values || (values.size(0) == size && values.contiguous()), op, ": ", name, " has ",
        values.size(0), " values, ", size, " beside each other were needed");
}

template <typename T>
void check_forward(View<const float, 2> x, View<const float, 1> gain, View<const float, 1> bias,
                   View<T, 2> y, View<float, 1> mean, View<float, 1> rstd) {
  check(y.sizes() == x.sizes(), "layer_norm: y is ", y.shape(), ", x is ", x.shape());
  check(x.stride(1) == 1 && y.stride(1) == 1, "layer_norm: contiguous rows were needed");
  check(static_cast<bool>(gain) == static_cast<bool>(bias),
        "layer_norm: gain or bias was given without the other, both or none were needed");
  check_size(gain, "gain", x.size(1), "layer_norm");
  check_size(bias, "bias", x.size(1), "layer_norm");
  check_size(mean, "mean", x.size(0), "layer_norm");
  check_size(rstd, "rstd", x.size(0), "layer_norm");
}

}  // namespace

void layer_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, View<float, 2> y, View<float, 1> mean,
                View<float, 1> rstd) {
  check_forward(x, gain, bias, y, mean, rstd);
  ORRERY_ON_DEVICE(ctx, layer_norm, x, gain, bias, eps, y, mean, rstd);
}

void layer_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, View<bf16, 2> y, View<float, 1> mean,
                View<float, 1> rstd) {
  check_forward(x, gain, bias, y, mean, rstd);
  ORRERY_ON_DEVICE(ctx, layer_norm, x, gain, bias, eps, y, mean, rstd);
}

void layer_norm_backward(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                         View<const float, 1> mean, View<const float, 1> rstd,
                         View<const float, 2> dy, bool accumulate_dx, View<float, 2> dx,
                         View<float, 1> dgain, View<float, 1> dbias) {
  check(dy.sizes() == x.sizes() && dx.sizes() == x.sizes(), "layer_norm_backward: x is ", x.shape(),
        ", dy ", dy.shape(), ", dx ", dx.shape(), "; equal shapes were needed");
  check(x.stride(1) == 1 && dy.stride(1) == 1 && dx.stride(1) == 1,
        "layer_norm_backward: contiguous rows were needed");
  check(mean && rstd, "layer_norm_backward: mean and rstd of the forward pass were needed");
  check(!(accumulate_dx && dx.data() == dy.data()),
        "layer_norm_backward: dx is dy, so it cannot be added to");
  check_size(gain, "gain", x.size(1), "layer_norm_backward");
  check_size(mean, "mean", x.size(0), "layer_norm_backward");
  check_size(rstd, "rstd", x.size(0), "layer_norm_backward");
  check_size(dgain, "dgain", x.size(1), "layer_norm_backward");
  check_size(dbias, "dbias", x.size(1), "layer_norm_backward");
  ORRERY_ON_DEVICE(ctx, layer_norm_backward, x, gain, mean, rstd, dy, accumulate_dx, dx, dgain,
                   dbias);
}

}  // namespace orrery
