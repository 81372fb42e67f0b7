#pragma once

#include "device/context.h"
#include "plan/elites.h"
#include "tensor/view.h"

namespace orrery {

// Plans whose actions are categories: a block of action_dim numbers is action_dim / categories
// choices, each a weight for every category that the numbers of a plan give one after the other. A
// candidate's weights are one 1 among zeros; the search keeps their probabilities. Everything lies
// where the context's operations run, contiguous. CUDA: float only.

// A probability that is taken for no less, so that its logarithm is finite; draws likewise.
inline constexpr double kLeastProbability = 1e-10;

// candidates[e, s, t, j, :] = one-hot of argmax_c (log p[e, t, j, c] - log(-log(u[e, s, t, j, c])))
// candidates[e, 0, t, j, :] = one-hot of argmax_c p[e, t, j, c]
//
//   uniform         [group, samples, horizon, action_dim], in [0, 1)
//   probabilities   [group, horizon, action_dim]
//   candidates      [group, samples, horizon, action_dim], may be uniform
//
// which draws each category with its probability (Gumbel-max); p and u are no less than
// kLeastProbability; of equals the first category. In double: steady; equal on CPU and CUDA but for
// draws that differ by a last bit
template <typename T>
void sample_categories(Context& ctx, View<const T, 4> uniform, View<const T, 3> probabilities,
                       i64 categories, View<T, 4> candidates);

struct CategoryRule {
  i64 categories = 0;
  double smoothing = 0;  // added to every elite frequency before they are made to sum to 1
  double momentum = 0;   // share of the old probabilities that stays
  NanCosts nan = NanCosts::never_win;
};

// Where a fit of categories goes.
template <typename T>
struct CategoryFit {
  View<T, 3> probabilities;  // [group, horizon, action_dim], read and written
  View<T, 3> std;            // [group, horizon, action_dim]: sqrt(p (1 - p))
  View<T, 1> cost;           // [group], mean cost of the elites
  View<T, 4> answer;         // [group, 1, horizon, action_dim]: one-hot of the most probable ones
};

// f = frequency of each category among the elites;  f = (f + smoothing) / sum (f + smoothing)
// p = momentum * p + (1 - momentum) * f
//
// As the elites' fit does, NanCosts::never_win counts only those with a usable cost, and leaves p
// as it was where there is none. In double, rounded once. steady; equal on CPU and CUDA
template <typename T>
void fit_categories(Context& ctx, const Elites<T>& elites, const CategoryRule& rule,
                    const CategoryFit<T>& fit);

}  // namespace orrery
