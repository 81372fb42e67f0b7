#include "ops/activation_bf16.h"

#include "base/error.h"

namespace orrery {

namespace cpu {
void activate_bf16(Context& ctx, Activation activation, View<const bf16, 1> x, View<bf16, 1> y);
void activate_bf16_backward(Context& ctx, Activation activation, View<const bf16, 1> x,
                            View<const bf16, 1> dy, View<bf16, 1> dx);
}  // namespace cpu
namespace cuda {
void activate_bf16(Context& ctx, Activation activation, View<const bf16, 1> x, View<bf16, 1> y);
void activate_bf16_backward(Context& ctx, Activation activation, View<const bf16, 1> x,
                            View<const bf16, 1> dy, View<bf16, 1> dx);
}  // namespace cuda

void activate_bf16(Context& ctx, Activation activation, View<const bf16, 1> x, View<bf16, 1> y) {
  check(x.size(0) == y.size(0) && x.contiguous() && y.contiguous(), "activate_bf16: x is ",
        x.shape(), ", y ", y.shape(), ", contiguous and of one size was needed");
  ORRERY_ON_DEVICE(ctx, activate_bf16, activation, x, y);
}

void activate_bf16_backward(Context& ctx, Activation activation, View<const bf16, 1> x,
                            View<const bf16, 1> dy, View<bf16, 1> dx) {
  check(x.size(0) == dy.size(0) && x.size(0) == dx.size(0) && x.contiguous() && dy.contiguous() &&
            dx.contiguous(),
        "activate_bf16_backward: x is ", x.shape(), ", dy ", dy.shape(), ", dx ", dx.shape(),
        ", contiguous and of one size was needed");
  ORRERY_ON_DEVICE(ctx, activate_bf16_backward, activation, x, dy, dx);
}

}  // namespace orrery
