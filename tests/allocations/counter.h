#pragma once

#include "base/types.h"

namespace orrery {

// Heap allocations of this program so far, by any thread: malloc and its relatives, and with them
// operator new. Linking orrery_allocation_counter replaces them.
i64 allocations();

// False under a sanitizer, which brings an allocator of its own: nothing is counted then.
bool allocations_are_counted();

}  // namespace orrery
