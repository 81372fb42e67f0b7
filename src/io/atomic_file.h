#pragma once

#include "base/atomic_file.h"  // pictures and environments write files too, so it lives below io
