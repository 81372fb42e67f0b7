#pragma once

#include <filesystem>
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

}  // namespace orrery
