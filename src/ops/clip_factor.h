#pragma once

#include <cmath>

#include "base/host_device.h"

namespace orrery {

// result[0, 1] of gradient_clip.h, given the sum of squares. exact
ORRERY_HD inline void write_clip(double squares, double share, double clip, const double* loss,
                                 double* result) {
  const double norm = share * std::sqrt(squares);
  double factor = share;
  if (clip > 0) {
    const double clipped = clip / (norm + 1e-6);
    factor *= clipped < 1.0 ? clipped : 1.0;
  }
  // only of a finite number is the difference to itself 0
  const bool finite = norm - norm == 0 && (loss == nullptr || *loss - *loss == 0);
  result[0] = norm;
  result[1] = finite ? factor : NAN;
}

}  // namespace orrery
