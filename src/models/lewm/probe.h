#pragma once

#include <functional>

#include "tensor/view.h"

namespace orrery::lewm {

// Sees what the stages of a forward pass compute, for parity tables and films: the stage's name as
// golden files have it
// ("encoder_layer" with layer 3 is encoder_layer_3; layer -1 for stages without a number) and its
// rows. Without a probe the pass leaves out what only a probe would see.
using Probe = std::function<void(const char* stage, i64 layer, View<const float, 2> rows)>;

}  // namespace orrery::lewm
