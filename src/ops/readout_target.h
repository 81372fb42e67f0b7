#pragma once

#include <cmath>

#include "base/host_device.h"
#include "ops/readout_targets.h"

namespace orrery {

// one number of readout_targets.h
ORRERY_HD inline float readout_target(const ReadoutTarget& target, const float* row, float guess) {
  constexpr double kRoot2 = 1.4142135623730951;
  const float x = row[target.place];
  float wanted = 0;
  if (target.kind == ReadoutTarget::Kind::scaled) {
    wanted = (x - target.mean) / target.scale;
  } else {
    const auto angle = static_cast<double>(x);
    const bool cosine = target.kind == ReadoutTarget::Kind::cosine;
    wanted = static_cast<float>(kRoot2 * (cosine ? std::cos(angle) : std::sin(angle)));
  }
  // only NaN differs from itself
  return wanted == wanted ? wanted : guess;
}

}  // namespace orrery
