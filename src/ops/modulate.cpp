#include "ops/modulate.h"

namespace orrery {

namespace cpu {
void modulate(Context& ctx, View<const float, 3> x, View<const float, 3> shift,
              View<const float, 3> scale, View<float, 3> y);
void modulate_backward(Context& ctx, View<const float, 3> x, View<const float, 3> scale,
                       View<const float, 3> dy, View<float, 3> dx, View<float, 3> dshift,
                       View<float, 3> dscale);
void gated_add(Context& ctx, View<const float, 3> x, View<const float, 3> gate,
               View<const float, 3> branch, View<float, 3> y);
void gated_add_backward(Context& ctx, View<const float, 3> gate, View<const float, 3> branch,
                        View<const float, 3> dy, View<float, 3> dgate, View<float, 3> dbranch);
}  // namespace cpu
namespace cuda {
void modulate(Context& ctx, View<const float, 3> x, View<const float, 3> shift,
              View<const float, 3> scale, View<float, 3> y);
void modulate_backward(Context& ctx, View<const float, 3> x, View<const float, 3> scale,
                       View<const float, 3> dy, View<float, 3> dx, View<float, 3> dshift,
                       View<float, 3> dscale);
void gated_add(Context& ctx, View<const float, 3> x, View<const float, 3> gate,
               View<const float, 3> branch, View<float, 3> y);
void gated_add_backward(Context& ctx, View<const float, 3> gate, View<const float, 3> branch,
                        View<const float, 3> dy, View<float, 3> dgate, View<float, 3> dbranch);
}  // namespace cuda

namespace {

void check_same(const char* op, const char* name, View<const float, 3> view,
                View<const float, 3> like) {
  check(view.sizes() == like.sizes(), op, ": ", name, " is ", view.shape(), ", ", like.shape(),
        " was needed");
  check(view.stride(2) == 1 || view.size(2) <= 1, op, ": ", name,
        " needs a contiguous last dimension");
}

}  // namespace

void modulate(Context& ctx, View<const float, 3> x, View<const float, 3> shift,
              View<const float, 3> scale, View<float, 3> y) {
  check_same("modulate", "x", x, x);
  check_same("modulate", "shift", shift, x);
  check_same("modulate", "scale", scale, x);
  check_same("modulate", "y", y, x);
  ORRERY_ON_DEVICE(ctx, modulate, x, shift, scale, y);
}

void modulate_backward(Context& ctx, View<const float, 3> x, View<const float, 3> scale,
                       View<const float, 3> dy, View<float, 3> dx, View<float, 3> dshift,
                       View<float, 3> dscale) {
  check_same("modulate_backward", "x", x, x);
  check_same("modulate_backward", "scale", scale, x);
  check_same("modulate_backward", "dy", dy, x);
  check_same("modulate_backward", "dx", dx, x);
  check_same("modulate_backward", "dshift", dshift, x);
  check_same("modulate_backward", "dscale", dscale, x);
  ORRERY_ON_DEVICE(ctx, modulate_backward, x, scale, dy, dx, dshift, dscale);
}

void gated_add(Context& ctx, View<const float, 3> x, View<const float, 3> gate,
               View<const float, 3> branch, View<float, 3> y) {
  check_same("gated_add", "x", x, x);
  check_same("gated_add", "gate", gate, x);
  check_same("gated_add", "branch", branch, x);
  check_same("gated_add", "y", y, x);
  ORRERY_ON_DEVICE(ctx, gated_add, x, gate, branch, y);
}

void gated_add_backward(Context& ctx, View<const float, 3> gate, View<const float, 3> branch,
                        View<const float, 3> dy, View<float, 3> dgate, View<float, 3> dbranch) {
  check_same("gated_add_backward", "gate", gate, gate);
  check_same("gated_add_backward", "branch", branch, gate);
  check_same("gated_add_backward", "dy", dy, gate);
  check_same("gated_add_backward", "dgate", dgate, gate);
  check_same("gated_add_backward", "dbranch", dbranch, gate);
  ORRERY_ON_DEVICE(ctx, gated_add_backward, gate, branch, dy, dgate, dbranch);
}

}  // namespace orrery
