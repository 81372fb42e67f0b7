#include "ops/gradient_clip.h"

#include <cmath>

#include "ops/clip_factor.h"
#include "ops/elementwise.h"

namespace orrery {

namespace cpu {

namespace {

void gradient_clip(Context& ctx, View<const float, 1> gradient, double share, double clip,
                   View<const double, 1> loss, View<double, 1> result) {
  const double squares = sum_of_squares(ctx, gradient);
  write_clip(squares, share, clip, loss ? loss.data() : nullptr, result.data());
}

}  // namespace

}  // namespace cpu

namespace cuda {
void gradient_clip(Context& ctx, View<const float, 1> gradient, double share, double clip,
                   View<const double, 1> loss, View<double, 1> result);
}  // namespace cuda

void gradient_clip(Context& ctx, View<const float, 1> gradient, double share, double clip,
                   View<const double, 1> loss, View<double, 1> result) {
  check(gradient.contiguous(), "gradient_clip: a contiguous gradient was needed");
  check(share > 0 && clip >= 0, "gradient_clip: share is ", share, " and clip ", clip,
        ", more than 0 and at least 0 were needed");
  check(!loss || loss.size(0) == 1, "gradient_clip: ", loss.size(0),
        " losses came, one was needed");
  check(result.size(0) == 2 && result.contiguous(), "gradient_clip: the result has ",
        result.size(0), " places, 2 were needed");
  ORRERY_ON_DEVICE(ctx, gradient_clip, gradient, share, clip, loss, result);
}

}  // namespace orrery
