#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// Copies and sums of blocks that lie apart in memory: all views [a, b, c] of one shape, the last
// dimension contiguous, any other strides; a stride of 0 repeats a block. exact

// to = from
void copy(Context& ctx, View<const float, 3> from, View<float, 3> to);

// to = from, with 0 in place of what is not a number
void copy_numbers(Context& ctx, View<const float, 3> from, View<float, 3> to);

// to += from
void add_to(Context& ctx, View<const float, 3> from, View<float, 3> to);

// to = a + b; to may be either
void add(Context& ctx, View<const float, 3> a, View<const float, 3> b, View<float, 3> to);

// every element of a contiguous array
void fill(Context& ctx, float value, View<float, 1> to);

}  // namespace orrery
