#include "ops/adamw.h"

namespace orrery {

namespace cpu {
void adamw_step(Context& ctx, const AdamW& settings, std::span<const AdamWGroup> groups, i64 step,
                float gradient_factor, View<const float, 1> gradient, View<float, 1> parameter,
                View<float, 1> m, View<float, 1> v);
void move_towards(Context& ctx, float share, View<const float, 1> x, View<float, 1> y);
}  // namespace cpu

void adamw_step(Context& ctx, const AdamW& settings, std::span<const AdamWGroup> groups, i64 step,
                float gradient_factor, View<const float, 1> gradient, View<float, 1> parameter,
                View<float, 1> m, View<float, 1> v) {
  const i64 size = parameter.size(0);
  check(step >= 1, "adamw_step: step is ", step, ", steps count from 1");
  check(gradient.size(0) == size && m.size(0) == size && v.size(0) == size,
        "adamw_step: parameter has ", size, " values, gradient ", gradient.size(0), ", m ",
        m.size(0), ", v ", v.size(0), "; equal sizes were needed");
  check(gradient.contiguous() && parameter.contiguous() && m.contiguous() && v.contiguous(),
        "adamw_step: contiguous arrays were needed");
  const AdamWGroup all = {size, 1.0f, settings.weight_decay};
  if (groups.empty()) groups = {&all, 1};
  i64 end = 0;
  for (const AdamWGroup& group : groups) {
    check(group.end >= end, "adamw_step: a group ends at ", group.end, ", the one before it at ",
          end);
    end = group.end;
  }
  check(end == size, "adamw_step: the groups end at ", end, ", there are ", size, " parameters");
  ORRERY_ON_CPU(ctx, adamw_step, settings, groups, step, gradient_factor, gradient, parameter, m,
                v);
}

void move_towards(Context& ctx, float share, View<const float, 1> x, View<float, 1> y) {
  check(x.size(0) == y.size(0), "move_towards: x has ", x.size(0), " values, y ", y.size(0));
  check(x.contiguous() && y.contiguous(), "move_towards: contiguous arrays were needed");
  ORRERY_ON_CPU(ctx, move_towards, share, x, y);
}

}  // namespace orrery
