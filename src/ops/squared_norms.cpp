#include "ops/squared_norms.h"

namespace orrery {

namespace cpu {

// a plain loop: rows of a few dozen numbers, a thousandth of what it took to judge them
void add_squared_norms(Context& ctx, View<const float, 2> x, float factor, View<float, 1> out) {
  ctx.parallel_ranges(x.size(0), 64, [&](i64 begin, i64 end, int) {
    for (i64 r = begin; r < end; ++r) {
      double sum = 0;
      for (i64 d = 0; d < x.size(1); ++d) {
        const auto value = static_cast<double>(x(r, d));
        sum += value * value;
      }
      out[r] = static_cast<float>(static_cast<double>(out[r]) + static_cast<double>(factor) * sum);
    }
  });
}

}  // namespace cpu
namespace cuda {
void add_squared_norms(Context& ctx, View<const float, 2> x, float factor, View<float, 1> out);
}  // namespace cuda

void add_squared_norms(Context& ctx, View<const float, 2> x, float factor, View<float, 1> out) {
  check(out.size(0) == x.size(0), "add_squared_norms: out has ", out.size(0), " values, x ",
        x.size(0), " rows");
  check(x.contiguous() && out.contiguous(), "add_squared_norms: contiguous arrays were needed");
  if (x.size(0) == 0) return;
  ORRERY_ON_DEVICE(ctx, add_squared_norms, x, factor, out);
}

}  // namespace orrery
