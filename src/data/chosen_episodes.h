#pragma once

#include <memory>
#include <vector>

#include "data/episodes.h"

namespace orrery {

// Some episodes of a recording, in the given order, as a recording of its own. Nothing is copied.
// Error: an episode that is not there, or none at all.
std::unique_ptr<Episodes> chosen_episodes(std::unique_ptr<Episodes> source,
                                          const std::vector<i64>& chosen);

}  // namespace orrery
