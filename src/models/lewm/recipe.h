#pragma once

#include <filesystem>
#include <string>

#include "models/lewm/weights.h"

namespace orrery::lewm {

// Weights made from a formula instead of a file, so that a full-size model can be checked anywhere
// without a download: value i of a tensor is base + u * scale, u in [-1, 1) from one SplitMix64
// output of the state FNV1a64(salt + ":" + name) + i * 0x9E3779B97F4A7C15, its upper 24 bits. exact

// recipe.json beside golden vectors: {"salt", "tensors": {name: {"shape", "base", "scale_bits"}}}.
// Tensors are named and shaped as in a weights file, and the same strict rules hold.
Weights weights_from_recipe(const Config& config, const std::filesystem::path& recipe);

// Non-trivial weights for tests of our own, with the scales that keep activations of unit size.
Weights seeded_weights(const Config& config, const std::string& salt);

}  // namespace orrery::lewm
