#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "env/pusht_replay.h"

namespace orrery {

// Episodes of PushT to be played again, from any recording with columns `state` and `action`:
// - state of 5 numbers (agent, block, angle): actions are points of the canvas, as in the human
//   demonstrations published with Diffusion Policy, a zarr folder
// - state of 7: actions are relative, as stable-worldmodel records them; a last row without one
//   (NaN) stays where the agent is
// or from an npz of action, state and episode_ends, such as the former without its pictures.
//
// Refused, in one sentence: other widths, numbers that are not finite, ends that do not rise to the
// number of rows.
std::vector<Demonstration> read_demonstrations(const std::filesystem::path& path);

// Demonstrations `remainder`, `remainder` + `folds`, ... of a list: what is held out when a model
// is to be judged on episodes it cannot have learnt from, and what is left.
struct Fold {
  i64 remainder = 0;
  i64 folds = 1;

  bool has(i64 index) const { return index % folds == remainder; }
};

// "6/7": 0 <= 6 < 7. `where` names the option in the error's sentence.
Fold fold_from_text(const std::string& text, const std::string& where);

// Those in the fold, or all others; none left is an error.
std::vector<Demonstration> choose(std::vector<Demonstration> all, const Fold& fold, bool others);

}  // namespace orrery
