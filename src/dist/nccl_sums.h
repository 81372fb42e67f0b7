#pragma once

#include <memory>
#include <string>

#include "dist/device_sums.h"

namespace orrery::dist {

// Why this process cannot use NCCL, in words; empty when it can.
std::string why_no_nccl();

// All ranks together. Error: NCCL could not connect them.
std::unique_ptr<DeviceSums> nccl_sums(Context& ctx, Lockstep& lockstep);

}  // namespace orrery::dist
