#pragma once

#include "base/bf16.h"
#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// sums[d] += sum_r x[r, d] in f32, as add_column_sums of elementwise.h: the gradient of a bias
// whose slopes are kept as bf16. x [rows, dim] last dimension contiguous. steady
void add_column_sums(Context& ctx, View<const bf16, 2> x, View<float, 1> sums);

}  // namespace orrery
