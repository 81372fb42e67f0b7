#include "ops/adamw.h"

#include <cmath>

#include "ops/adamw_ref.h"

namespace orrery {

namespace cpu {
void adamw_step(Context& ctx, View<const AdamWStretch, 1> stretches, float gradient_factor,
                View<const float, 1> gradient, View<float, 1> parameter, View<float, 1> m,
                View<float, 1> v);
void adamw_step(Context& ctx, View<const AdamWStretch, 1> stretches, View<const double, 1> clipped,
                View<const float, 1> gradient, View<float, 1> parameter, View<float, 1> m,
                View<float, 1> v) {
  const double factor = clipped[1];
  if (!std::isfinite(factor)) return;
  adamw_step(ctx, stretches, static_cast<float>(factor), gradient, parameter, m, v);
}
void move_towards(Context& ctx, float share, View<const float, 1> x, View<float, 1> y);
}  // namespace cpu
namespace cuda {
void adamw_step(Context& ctx, View<const AdamWStretch, 1> stretches, float gradient_factor,
                View<const float, 1> gradient, View<float, 1> parameter, View<float, 1> m,
                View<float, 1> v);
void adamw_step(Context& ctx, View<const AdamWStretch, 1> stretches, View<const double, 1> clipped,
                View<const float, 1> gradient, View<float, 1> parameter, View<float, 1> m,
                View<float, 1> v);
void move_towards(Context& ctx, float share, View<const float, 1> x, View<float, 1> y);
}  // namespace cuda

namespace {

void check_arrays(View<const float, 1> gradient, View<float, 1> parameter, View<float, 1> m,
                  View<float, 1> v) {
  const i64 size = parameter.size(0);
  check(gradient.size(0) == size && m.size(0) == size && v.size(0) == size,
        "adamw_step: parameter has ", size, " values, gradient ", gradient.size(0), ", m ",
        m.size(0), ", v ", v.size(0), "; equal sizes were needed");
  check(gradient.contiguous() && parameter.contiguous() && m.contiguous() && v.contiguous(),
        "adamw_step: contiguous arrays were needed");
}

AdamWStretch stretch_of(const AdamW& settings, const AdamWGroup& group, i64 step) {
  check(step >= 1, "adamw_step: step is ", step, ", steps count from 1");
  AdamW own = settings;
  own.lr *= group.lr_scale;
  own.weight_decay = group.weight_decay;
  return {group.end, adamw_factors<float>(own, step)};
}

AdamWStretch all_alike(const AdamW& settings, i64 step, i64 size) {
  return stretch_of(settings, {size, 1.0f, settings.weight_decay}, step);
}

}  // namespace

std::vector<AdamWStretch> adamw_stretches(const AdamW& settings, std::span<const AdamWGroup> groups,
                                          i64 step, i64 size) {
  if (groups.empty()) return {all_alike(settings, step, size)};
  std::vector<AdamWStretch> stretches;
  i64 end = 0;
  for (const AdamWGroup& group : groups) {
    check(group.end >= end, "adamw_step: a group ends at ", group.end, ", the one before it at ",
          end);
    end = group.end;
    stretches.push_back(stretch_of(settings, group, step));
  }
  check(end == size, "adamw_step: the groups end at ", end, ", there are ", size, " parameters");
  return stretches;
}

void adamw_step(Context& ctx, const AdamW& settings, std::span<const AdamWGroup> groups, i64 step,
                float gradient_factor, View<const float, 1> gradient, View<float, 1> parameter,
                View<float, 1> m, View<float, 1> v) {
  check_arrays(gradient, parameter, m, v);
  // planners take such steps without groups, and do not allocate
  const AdamWStretch alike = all_alike(settings, step, parameter.size(0));
  std::vector<AdamWStretch> made;
  if (!groups.empty()) made = adamw_stretches(settings, groups, step, parameter.size(0));
  const View<const AdamWStretch, 1> stretches(groups.empty() ? &alike : made.data(),
                                              {groups.empty() ? 1 : static_cast<i64>(made.size())});
  ORRERY_ON_DEVICE(ctx, adamw_step, stretches, gradient_factor, gradient, parameter, m, v);
}

void adamw_step(Context& ctx, View<const AdamWStretch, 1> stretches, View<const double, 1> clipped,
                View<const float, 1> gradient, View<float, 1> parameter, View<float, 1> m,
                View<float, 1> v) {
  check_arrays(gradient, parameter, m, v);
  check(stretches.size(0) >= 1 && stretches.contiguous(), "adamw_step: no factors came");
  check(clipped.size(0) == 2 && clipped.contiguous(), "adamw_step: ", clipped.size(0),
        " numbers of a clipped gradient came, 2 were needed");
  ORRERY_ON_DEVICE(ctx, adamw_step, stretches, clipped, gradient, parameter, m, v);
}

void move_towards(Context& ctx, float share, View<const float, 1> x, View<float, 1> y) {
  check(x.size(0) == y.size(0), "move_towards: x has ", x.size(0), " values, y ", y.size(0));
  check(x.contiguous() && y.contiguous(), "move_towards: contiguous arrays were needed");
  ORRERY_ON_DEVICE(ctx, move_towards, share, x, y);
}

}  // namespace orrery
