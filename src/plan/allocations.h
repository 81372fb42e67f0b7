#pragma once

#include "base/types.h"

namespace orrery {

// Heap allocations of this test program so far, by any thread (allocations_test.cpp replaces
// operator new).
i64 allocations();

}  // namespace orrery
