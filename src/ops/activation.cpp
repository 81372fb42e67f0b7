#include "ops/activation.h"

namespace orrery {

namespace cpu {
void activate(Context& ctx, Activation activation, View<const float, 1> x, View<float, 1> y);
void activate_backward(Context& ctx, Activation activation, View<const float, 1> x,
                       View<const float, 1> dy, View<float, 1> dx);
}  // namespace cpu
namespace cuda {
void activate(Context& ctx, Activation activation, View<const float, 1> x, View<float, 1> y);
void activate_backward(Context& ctx, Activation activation, View<const float, 1> x,
                       View<const float, 1> dy, View<float, 1> dx);
}  // namespace cuda

void activate(Context& ctx, Activation activation, View<const float, 1> x, View<float, 1> y) {
  check(x.size(0) == y.size(0), "activate: x has ", x.size(0), " values, y ", y.size(0));
  check(x.contiguous() && y.contiguous(), "activate: contiguous arrays were needed");
  ORRERY_ON_DEVICE(ctx, activate, activation, x, y);
}

void activate_backward(Context& ctx, Activation activation, View<const float, 1> x,
                       View<const float, 1> dy, View<float, 1> dx) {
  check(x.size(0) == dy.size(0) && x.size(0) == dx.size(0), "activate_backward: x has ", x.size(0),
        " values, dy ", dy.size(0), ", dx ", dx.size(0), "; equal sizes were needed");
  check(x.contiguous() && dy.contiguous() && dx.contiguous(),
        "activate_backward: contiguous arrays were needed");
  ORRERY_ON_DEVICE(ctx, activate_backward, activation, x, dy, dx);
}

}  // namespace orrery
