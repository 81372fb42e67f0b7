#pragma once

#include <array>

#include "models/lewm/weights.h"

namespace orrery::lewm {

// The published starting values. Vision transformer: matrices, positions and CLS normal with
// standard deviation 0.02, biases 0. Everything else: matrices and their biases uniform in
// +-1/sqrt(inputs), the predictor's positions standard normal, AdaLN 0. Norms 1 and 0, running
// statistics 0 and 1.
//
// A value is a function of (seed, tensor name, element). steady: the same on every backend
void initialize(Weights& weights, u64 seed);
// the same rules for the tensors of a layout, by their names
void initialize_tensors(const Layout& layout, float* parameters, float* buffers, u64 seed);

// Starting values for narrow vision transformers trained briefly. 0.02 is meant for a width of 768:
// at a width of 96 every branch of the encoder begins almost silent, and in pictures that are
// mostly one colour, what all patches share drowns their positions. So matrices of the encoder are
// normal with deviation 1/sqrt(inputs), positions and CLS with 0.3, and the bias of the patch
// projection makes the answer to a patch of one colour zero: `colour`, normalised RGB, the mean of
// the data. Everything else as published. steady
void initialize_scaled(Weights& weights, u64 seed, const std::array<float, 3>& colour);

}  // namespace orrery::lewm
