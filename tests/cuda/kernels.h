#pragma once

#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/types.h"

namespace orrery::kernels {

// What an object file holds for CUDA devices: "sm_80" is machine code, "compute_90" is PTX, an "a"
// at the end means the features of that architecture alone. Read from the containers that nvcc puts
// into it (magic BA55ED50); empty when there are none. Error when one is cut off.
std::set<std::string> targets_in(std::span<const u8> object);

// The names of the kernels (__global__ functions) that a source defines; one that is only declared
// counts as well. Comments are no code.
std::set<std::string> kernels_in(std::string_view source);

// (file, kernel) of every row of a Markdown table that begins | `file` | `kernel` |
std::set<std::pair<std::string, std::string>> rows_of(std::string_view markdown);

}  // namespace orrery::kernels
