#pragma once

#include <cstddef>

namespace orrery {

// The most memory that this process has held at once, in bytes, as the system counts it: pages in
// use, those of libraries and mapped files included. 0 where the system does not tell.
std::size_t peak_memory_bytes();

}  // namespace orrery
