#include "ops/adamw.h"

namespace orrery {

namespace cpu {
void adamw_step(Context& ctx, const AdamW& settings, i64 step, float gradient_factor,
                View<const float, 1> gradient, View<float, 1> parameter, View<float, 1> m,
                View<float, 1> v);
}

void adamw_step(Context& ctx, const AdamW& settings, i64 step, float gradient_factor,
                View<const float, 1> gradient, View<float, 1> parameter, View<float, 1> m,
                View<float, 1> v) {
  const i64 size = parameter.size(0);
  check(step >= 1, "adamw_step: step is ", step, ", steps count from 1");
  check(gradient.size(0) == size && m.size(0) == size && v.size(0) == size,
        "adamw_step: parameter has ", size, " values, gradient ", gradient.size(0), ", m ",
        m.size(0), ", v ", v.size(0), "; equal sizes were needed");
  check(gradient.contiguous() && parameter.contiguous() && m.contiguous() && v.contiguous(),
        "adamw_step: contiguous arrays were needed");
  ORRERY_ON_CPU(ctx, adamw_step, settings, step, gradient_factor, gradient, parameter, m, v);
}

}  // namespace orrery
