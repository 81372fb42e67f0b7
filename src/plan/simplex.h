#pragma once

#include "tensor/view.h"

namespace orrery {

// Each row becomes the nearest row of shares, numbers from 0 up that sum to 1:
//
//   x = max(v - psi, 0),  psi such that sum x = 1
//
//   rows   [n, categories], contiguous, changed in place
//
// psi is found by leaving out what falls below it and averaging again until nothing more does (C.
// Michelot, "A finite algorithm for finding the projection of a point onto the canonical simplex",
// 1986), in double. exact
void project_simplex(View<float, 2> rows);

// Actions as category numbers and as planners of categories see them: block j of a row is one-hot
// in its `categories` numbers [j * categories, (j + 1) * categories).

// numbers [n, blocks] -> weights [n, blocks * categories]. Error for a number that is no category.
void one_hot(View<const i64, 2> numbers, i64 categories, View<float, 2> weights);

// the largest of each block, the first of equal ones: weights [n, blocks * categories] -> numbers
// [n, blocks]
void largest_categories(View<const float, 2> weights, i64 categories, View<i64, 2> numbers);

}  // namespace orrery
