#pragma once

#include <vector>

namespace orrery {

// The instruction set that kernels run with: the best that was compiled and that this CPU has, or
// the one that the environment variable ORRERY_CPU names. "AVX3" is Highway's name for AVX-512,
// "SCALAR" and "EMU128" for the baseline.
//
// Told by a kernel itself, so it is the one that runs. Throws when ORRERY_CPU names one that is not
// in cpu_paths().
const char* cpu_path();

// All that could run here, best first.
std::vector<const char*> cpu_paths();

// Takes another path from now on, or with nullptr the one of the start again. For tests and
// comparisons; no operation may be running.
void use_cpu_path(const char* name);

// Reads ORRERY_CPU before the first kernel is chosen.
void choose_cpu_path();

}  // namespace orrery

// The exported kernel of this name for the chosen path, as a function pointer. Taken at the start
// of an operation: it may throw, which the bodies given to Context::parallel may not.
#define ORRERY_KERNEL(name) (::orrery::choose_cpu_path(), &HWY_DYNAMIC_DISPATCH(name))
