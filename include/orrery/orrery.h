#pragma once

namespace orrery {

// Version of the library, major.minor.patch.
const char* version();

}  // namespace orrery
