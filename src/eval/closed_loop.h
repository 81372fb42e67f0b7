#pragma once

#include "base/function_ref.h"
#include "eval/evaluate.h"

namespace orrery {

// What a lock-step run needs beside its cases; all of it outlives the run.
struct LockStep {
  const Player& player;
  const Protocol& protocol;
  const EvaluateOptions& options;
};

// One lock-step run of some cases, see evaluate_cases; `told` is called after every environment
// step with the number of cases that have succeeded.
std::vector<EpisodeRecord> play_in_lock_step(Context& ctx, const LockStep& how,
                                             std::span<const EvalCase> cases,
                                             FunctionRef<void(i64 step, i64 solved)> told);

}  // namespace orrery
