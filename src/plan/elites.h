#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// What planners learn from the costs of their candidates. Everything lies where the context's
// operations run, contiguous. CUDA: float only.

// Ranks candidates: lower costs first, equal costs by sample number, NaN after every number, or
// before with nan_first.
//
//   costs   [group, samples]
//   order   [group, samples]; order[e, 0 ... count - 1] are the sample numbers of the count lowest,
//           best first; the rest is scratch
//
// exact
template <typename T>
void lowest_costs(Context& ctx, View<const T, 2> costs, i64 count, View<i32, 2> order,
                  bool nan_first = false);

// What a NaN among the elites' costs does, of which there is one only where fewer candidates have
// a usable cost than elites are asked for.
enum class NanCosts {
  never_win,    // it is no elite: those with a cost decide, and where none has one nothing changes
  as_released,  // it is one, and makes what is computed from it NaN
};

// How the spread of the elites is measured.
enum class EliteStd {
  sample,  // divide by elites - 1: the released planner; one elite gives NaN, and the answer stays
           // the first best
  population,  // divide by elites: later releases; one elite gives 0
};

// Candidates with their costs and the elites among them, best first.
template <typename T>
struct Elites {
  View<const T, 4> candidates;  // [group, samples, horizon, action_dim]
  View<const T, 2> costs;       // [group, samples]
  View<const i32, 2> order;     // [group, elites]; rows may be farther apart
};

struct FitRule {
  EliteStd elite_std = EliteStd::sample;
  double momentum = 0;  // share of the old mean and std that stays
  double min_std = 0;   // std is not smaller
  NanCosts nan = NanCosts::never_win;
};

// Where a fit goes.
template <typename T>
struct Fit {
  View<T, 3> mean;       // [group, horizon, action_dim], read and written
  View<T, 3> std;        // [group, horizon, action_dim], read and written
  View<T, 1> cost;       // [group], mean cost of the elites; NaN where there is none
  View<T, 1> best_cost;  // [group], that of the best
  View<T, 4>
      kept;  // [group, kept, horizon, action_dim], the best candidates themselves; may be empty
};

// mean = momentum * mean + (1 - momentum) * mean(elites)
// std  = max(momentum * std + (1 - momentum) * std(elites), min_std), NaN stays NaN
//
// Where one elite of several has a usable cost, and NaN never wins, the sample std of it says
// nothing: std stays.
//
// Sums are taken in double. steady; equal on CPU and CUDA but for rare last bits
template <typename T>
void fit_elites(Context& ctx, const Elites<T>& elites, const FitRule& rule, const Fit<T>& fit);

// Where a weighing goes.
template <typename T>
struct Weighing {
  View<T, 3> mean;     // [group, horizon, action_dim]
  View<T, 1> cost;     // [group], mean cost of the elites
  View<T, 2> weights;  // [group, elites]
};

// w_k = exp(-(c_k - c_0) / temperature), divided by their sum;  mean = sum_k w_k x_k
//
// over the elites x_k with costs c_k, c_0 being the lowest. A NaN among the costs weighs nothing,
// or makes everything NaN (as released); where all are NaN, weights are 0 and the mean stays.
// Infinite costs weigh nothing beside finite ones and the same among themselves. temperature > 0.
// In double, weights rounded once. steady; equal on CPU and CUDA but for rare last bits
template <typename T>
void weigh_elites(Context& ctx, const Elites<T>& elites, double temperature, NanCosts nan,
                  const Weighing<T>& weighing);

}  // namespace orrery
