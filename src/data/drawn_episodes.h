#pragma once

#include <memory>

#include "data/drawing.h"
#include "data/episodes.h"

namespace orrery {

// A recording with a further column `pixels` u8 [side, side, 3], drawn by the environment from the
// column of states whenever rows of it are read: states and actions of 15,000 episodes are tens of
// megabytes, their pictures tens of gigabytes.
//
// image_size 0: pictures of the recorded size. Another size is what the environment draws of that
// size where it does (environment_of_size), else its own pictures reduced as record() reduces them.
//
// exact: from states as the environment computed them, the bytes that record() would have stored;
// but for the marks of contacts of PushT where two of them overlap: which lies on top depends on
// how the bodies came together, and some pixels of such a mark differ by one level. States stored
// in less precision than the environment's move an edge by a pixel now and then.
//
// Any number of threads draw at the same time, each with an environment of its own. Memory: the
// states, from the first read on, and an environment for each thread.
//
// A drawing that cannot be followed (damaged, an unknown environment, no column of its states or no
// ep_idx) is a refusal of `pixels`; the other columns are there all the same.
std::unique_ptr<Episodes> drawn(std::unique_ptr<Episodes> source, i64 image_size = 0);

}  // namespace orrery
