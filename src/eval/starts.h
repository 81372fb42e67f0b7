#pragma once

#include <string>
#include <vector>

#include "data/episodes.h"
#include "env/environment.h"
#include "eval/evaluation.h"

namespace orrery {

// What one evaluated episode begins with: taken from a recording.
struct EvalCase {
  // Its place among the protocol's cases: what is random in the episode hangs on it, so a case
  // plays the same whatever is played beside it.
  i64 index = 0;
  Start start;
  std::vector<double> state;       // to put the environment in
  std::vector<double> goal_state;  // goal_offset rows later
  Image frame;                     // what the recording shows at the start
  Image goal;                      // and at the goal
};

// `name`, drawing pictures as the recording shows them. PushT draws several sizes, and a picture
// that it draws at 96 pixels is not one of 224 reduced to 96: where the recording's pictures have a
// size that the environment draws, it gets that size, unless the recorded pictures are nearer to
// reduced ones. A name that says a size itself stays as it is.
std::string environment_drawn_as(const std::string& name, const Episodes& recording);

// Rows that may be starts: step <= episode length - goal_offset - 1, in rising order.
std::vector<i64> valid_start_rows(const Episodes& episodes, i64 goal_offset);

// numpy.random.default_rng(seed).choice(valid rows, episodes, replace=False), sorted; with the
// original rule of one valid row fewer. Error when the recording has too few valid rows.
std::vector<Start> choose_starts(const Episodes& episodes, const Protocol& protocol);

// The protocol's cases in their order: starts chosen, states and pictures read. The recording's
// column of states is the first of pos_agent, state, proprio and observation that is as wide as the
// environment's state.
//
// With drop_solved the environment is put in every chosen start; where its goal is reached before
// the first action, the start gives way to the first of all valid rows, in an order drawn from the
// seed, that is neither chosen nor solved, and all are sorted anew. Error when there are too few.
std::vector<EvalCase> load_cases(const Episodes& episodes, Environment& environment,
                                 const Protocol& protocol);

}  // namespace orrery
