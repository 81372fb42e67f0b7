#pragma once

#include <vector>

#include "models/lewm/model.h"
#include "models/lewm/objective.h"
#include "plan/choice.h"
#include "plan/policy.h"

namespace orrery {

// Whether a device or a precision may be trusted is judged by what it decides, not by how close its
// latents are: one plan is made with it and once more by a reference, usually f32 on the CPU, from
// the same pictures and the same random numbers.

// What is planned: pictures [height, width, 3] of one size, how, and from which seed.
struct DecisionProblem {
  View<const u8, 3> now, goal;
  PlannerChoice planner;
  lewm::Objective objective;
  i64 horizon = 5;
  ActionScale scale;  // of the raw actions, for limits; may be empty
  u64 seed = 42;
};

// One iteration of both plans.
struct IterationAgreement {
  double candidates = 0;  // largest difference of the candidates' numbers; 0 in the first iteration
                          // when both draw the same
  double rank_correlation = 0;  // Spearman's, of the costs; ties share their mean rank
  double elite_overlap = 0;     // share of elites that both chose, 0 to 1
};

struct DecisionReport {
  std::vector<IterationAgreement> iterations;
  double first_action = 0;              // largest difference of the first block's numbers, z-scored
  double actions = 0;                   // the same of all blocks
  double cost = 0, reference_cost = 0;  // as the two plans report them
  // All by the reference's model: what the plan costs, what the reference's costs, and what not to
  // act (the mean action) costs.
  double judged = 0, judged_reference = 0, judged_idle = 0;

  // Share of what planning gains, judged_idle - judged_reference, that is lost by planning with
  // less exact numbers; negative when the plan is the better one.
  double lost() const;
  // at most 5 % of the gain is lost
  bool ok() const;
};

// Both models have the same configuration; each is used in its own context.
DecisionReport compare_decisions(Context& ctx, const lewm::Model& model, Context& reference_ctx,
                                 const lewm::Model& reference, const DecisionProblem& problem);

// Spearman's rank correlation of two equally long rows of costs; NaN ranks last, ties share their
// mean rank; 1 when neither row has two different values.
double rank_correlation(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace orrery
