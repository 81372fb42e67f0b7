#pragma once

#include <memory>

#include "data/episodes.h"
#include "io/hdf5.h"

namespace orrery {

// robomimic's HDF5 (LIBERO and RoboCasa write the same): a group data/demo_<number> for each
// demonstration, with `actions` [T, A], `dones`, `rewards`, `states`, and what was observed in
// obs/<name>. For hdf5_episodes.cpp, which opens such files.
//
// Episodes are the demonstrations in the order of their numbers. Columns: `actions` is called
// action, what is in obs by its name alone, `pixels` the only camera (uint8 [height, width, 3]) or
// agentview_image among several; other groups of a demonstration (next_obs) are left out. A column
// that is not in every demonstration, with the rows of its actions and of one type and shape, is
// refused by name.

bool is_robomimic(const Hdf5Reader& reader);
std::unique_ptr<Episodes> robomimic_episodes(std::unique_ptr<Hdf5Reader> reader,
                                             const OpenOptions& options);

}  // namespace orrery
