#pragma once

#include "plan/categories.h"
#include "plan/search.h"

namespace orrery {

struct CategoricalCemConfig {
  i64 categories = 0;  // actions to choose from; a block is action_dim / categories choices
  i64 samples = 300;
  i64 elites = 30;
  i64 iterations = 30;
  double smoothing = 0;   // added to every elite frequency
  double momentum = 0;    // share of the probabilities that stays; called alpha in the released one
  i64 batch_size = 1;     // as CemConfig
  double enough_std = 0;  // end early when sqrt(p (1 - p)) averages no more; 0 as released: never
  NanCosts nan = NanCosts::never_win;
};

// Cross-entropy method over discrete actions. A dynamics sees every choice as one number per
// category, one 1 among zeros, so a block has choices x categories numbers.
//
//   p = 1 / categories
//   iterations times:
//     x_s  = a category of every choice, drawn by p (see sample_categories);  x_0 = the most
//            probable ones
//     cost = rollout_cost(x), elites as in CEM
//     f    = frequencies among the elites, (f + smoothing) / sum
//     p    = momentum * p + (1 - momentum) * f
//   answer: the most probable categories, one-hot; the mean cost of the last elites; sqrt(p (1 -
//   p))
//
// A warm start and proposals are ignored, as released. The noise is asked for uniform draws,
// [group, samples, horizon, action_dim]. In a SearchIteration `mean` is p. The variant of
// stable-worldmodel 0.1.1. steady
template <typename T>
class BasicCategoricalCem final : public BasicSearch<T> {
 public:
  // Takes all memory. Error when a number of the configuration or a size makes no sense. `noise`
  // outlives the planner.
  BasicCategoricalCem(Context& ctx, const CategoricalCemConfig& config, const PlanSizes& sizes,
                      BasicNoise<T>& noise);

 protected:
  using Memory = typename BasicSearch<T>::Memory;
  void sample(Context& ctx, const Memory& memory, View<const i32, 1> iteration) override;
  void learn(Context& ctx, const Memory& memory) override;
  const T* answer(const Memory& memory, i64 e, T& cost) const override;

 private:
  CategoricalCemConfig config_;
};

using CategoricalCem = BasicCategoricalCem<float>;

// The categories of a one-hot plan [horizon, choices x categories], choice by choice.
std::vector<i64> categories_of(View<const float, 2> plan, i64 categories);

}  // namespace orrery
