#include "orrery/orrery.h"

namespace orrery {

const char* version() { return "0.1.0"; }

}  // namespace orrery
