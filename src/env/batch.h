#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "device/context.h"
#include "env/environment.h"

namespace orrery {

// Environments of one kind that step and draw on the thread team. What they do does not depend on
// how many threads there are: none knows of another.
class EnvironmentBatch {
 public:
  EnvironmentBatch(std::string_view name, i64 count);

  i64 size() const { return static_cast<i64>(environments_.size()); }
  Environment& operator[](i64 i) { return *environments_[static_cast<std::size_t>(i)]; }
  const Environment& operator[](i64 i) const { return *environments_[static_cast<std::size_t>(i)]; }

  // actions [size, action_dim], steps [size]. Where `active` is given, environments whose entry is
  // 0 stand still: their action is not looked at and their entry in steps is left alone.
  void step(Context& ctx, View<const float, 2> actions, std::span<Step> steps,
            std::span<const u8> active = {});

  // frames [size, height, width, 3]
  void render(Context& ctx, View<u8, 4> frames) const;
  void render_goals(Context& ctx, View<u8, 4> frames) const;

 private:
  void check_frames(const char* what, View<u8, 4> frames) const;

  std::vector<std::unique_ptr<Environment>> environments_;
};

}  // namespace orrery
