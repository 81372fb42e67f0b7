#pragma once

#include "models/lewm/weights.h"

namespace orrery::lewm {

// The published starting values. Vision transformer: matrices, positions and CLS normal with
// standard deviation 0.02, biases 0. Everything else: matrices and their biases uniform in
// +-1/sqrt(inputs), the predictor's positions standard normal, AdaLN 0. Norms 1 and 0, running
// statistics 0 and 1.
//
// A value is a function of (seed, tensor name, element). steady: the same on every backend
void initialize(Weights& weights, u64 seed);

}  // namespace orrery::lewm
