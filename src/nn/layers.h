#pragma once

#include "tensor/view.h"

namespace orrery::nn {

// Views of a layer's tensors in somebody's block: the weights, or gradients of the same layout.
// Empty views mean that the layer is not there.

struct Dense {
  View<float, 2> weight;  // [outputs, inputs]
  View<float, 1> bias;    // [outputs], may be empty
};

struct Norm {
  View<float, 1> weight;  // [dim]
  View<float, 1> bias;    // [dim]
};

}  // namespace orrery::nn
