#include "env/batch.h"

#include <cmath>

#include "base/error.h"

namespace orrery {

EnvironmentBatch::EnvironmentBatch(std::string_view name, i64 count) {
  check(count > 0, "a batch needs at least one environment, ", count, " were asked for");
  for (i64 i = 0; i < count; ++i) environments_.push_back(make_environment(name));
}

void EnvironmentBatch::step(Context& ctx, View<const float, 2> actions, std::span<Step> steps,
                            std::span<const u8> active) {
  const i64 dim = (*this)[0].action_dim();
  check(actions.size(0) == size() && actions.size(1) == dim && actions.contiguous(),
        "step: actions have shape ", actions.shape(), ", ", Shape({size(), dim}), " is needed");
  check(static_cast<i64>(steps.size()) == size(), "step: ", steps.size(), " results for ", size(),
        " environments");
  check(active.empty() || static_cast<i64>(active.size()) == size(), "step: ", active.size(),
        " active flags for ", size(), " environments");
  const auto stands = [&](i64 i) {
    return !active.empty() && active[static_cast<std::size_t>(i)] == 0;
  };
  // checked here, because nothing may throw on the team
  for (i64 i = 0; i < size(); ++i) {
    for (i64 d = 0; d < dim && !stands(i); ++d) {
      check(std::isfinite(actions(i, d)), "step: action ", d, " of environment ", i, " is ",
            actions(i, d));
    }
  }
  ctx.parallel(size(), [&](i64 i, int) {
    if (stands(i)) return;
    const float* action = &actions(i, 0);
    steps[static_cast<std::size_t>(i)] = (*this)[i].step({action, static_cast<std::size_t>(dim)});
  });
}

void EnvironmentBatch::check_frames(const char* what, View<u8, 4> frames) const {
  const Shape needed = {size(), (*this)[0].frame_height(), (*this)[0].frame_width(), 3};
  check(frames.shape() == needed && frames.contiguous(), what, ": frames have shape ",
        frames.shape(), ", ", needed, " is needed");
}

void EnvironmentBatch::render(Context& ctx, View<u8, 4> frames) const {
  check_frames("render", frames);
  ctx.parallel(size(), [&](i64 i, int) { (*this)[i].render(frames[i]); });
}

void EnvironmentBatch::render_goals(Context& ctx, View<u8, 4> frames) const {
  check_frames("render_goals", frames);
  ctx.parallel(size(), [&](i64 i, int) { (*this)[i].render_goal(frames[i]); });
}

}  // namespace orrery
