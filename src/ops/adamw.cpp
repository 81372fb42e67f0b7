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

}  // namespace

std::vector<AdamWStretch> adamw_stretches(const AdamW& settings, std::span<const AdamWGroup> groups,
                                          i64 step, i64 size) {
  check(step >= 1, "adamw_step: step is ", step, ", steps count from 1");
  const AdamWGroup all = {size, 1.0f, settings.weight_decay};
  if (groups.empty()) groups = {&all, 1};
  std::vector<AdamWStretch> stretches;
  i64 end = 0;
  for (const AdamWGroup& group : groups) {
    check(group.end >= end, "adamw_step: a group ends at ", group.end, ", the one before it at ",
          end);
    end = group.end;
    AdamW own = settings;
    own.lr *= group.lr_scale;
    own.weight_decay = group.weight_decay;
    stretches.push_back({end, adamw_factors<float>(own, step)});
  }
  check(end == size, "adamw_step: the groups end at ", end, ", there are ", size, " parameters");
  return stretches;
}

void adamw_step(Context& ctx, const AdamW& settings, std::span<const AdamWGroup> groups, i64 step,
                float gradient_factor, View<const float, 1> gradient, View<float, 1> parameter,
                View<float, 1> m, View<float, 1> v) {
  check_arrays(gradient, parameter, m, v);
  const auto made = adamw_stretches(settings, groups, step, parameter.size(0));
  const View<const AdamWStretch, 1> stretches(made.data(), {static_cast<i64>(made.size())});
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
