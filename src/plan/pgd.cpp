#include "plan/pgd.h"

#include <algorithm>

#include "plan/simplex.h"

namespace orrery {

namespace {

// [rows, blocks * categories] as one row per raw action
View<float, 2> by_action(View<float, 2> actions, i64 categories) {
  return actions.reshaped<2>({actions.numel() / categories, categories});
}

}  // namespace

PgdPlanner::PgdPlanner(const PgdConfig& config, const PlanSizes& sizes, Noise& noise)
    : Descent("pgd",
              {.samples = config.samples,
               .steps = config.steps,
               .initial_std = config.initial_std,
               .action_noise = config.action_noise,
               .batch_size = config.batch_size,
               .optimiser = {.lr = config.lr},
               .answer = config.answer},
              sizes, noise),
      categories_(config.categories) {
  check(config.categories >= 1 && sizes.action_dim % config.categories == 0, "pgd: a block has ",
        sizes.action_dim, " weights, a multiple of the ", config.categories,
        " categories was needed");
}

void PgdPlanner::settle(View<float, 2> actions) {
  project_simplex(by_action(actions, categories_));
}

void PgdPlanner::finish_answer(View<float, 2> actions) {
  const View<float, 2> rows = by_action(actions, categories_);
  for (i64 r = 0; r < rows.size(0); ++r) {
    float* weights = rows[r].data();
    const i64 chosen = std::max_element(weights, weights + categories_) - weights;
    std::fill_n(weights, categories_, 0.0f);
    weights[chosen] = 1.0f;
  }
}

}  // namespace orrery
