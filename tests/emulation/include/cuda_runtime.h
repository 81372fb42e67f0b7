#pragma once

// Stands in front of the CUDA toolkit's header of the same name when kernels are compiled for the
// host: see tests/emulation/README.md.

#include "emulation/types.h"
#include "emulation/device.h"
#include "emulation/host.h"
