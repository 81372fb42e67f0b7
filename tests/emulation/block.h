#pragma once

// How the threads of one block take turns. Compiled without ThreadSanitizer's instrumentation, for
// the turns are no part of the kernel: all it is told is what barriers and fences order.

#include <cstdint>

#include "emulation/device.h"
#include "fiber.h"

namespace emulation {

inline constexpr unsigned kWarp = 32;
inline constexpr unsigned kMaxThreads = 1024;

// In which order threads, warps and blocks take their turns, and unordered nodes of a graph: a
// kernel that relies on one of them is wrong.
struct Order {
  enum class Kind { forward, reverse, random } kind = Kind::forward;
  std::uint64_t seed = 0;
};
// from ORRERY_EMULATED_ORDER: "forward", "reverse" or a number that seeds a random one
Order order_from_environment();
// index[0..count) becomes 0..count-1 in that order
void arrange(Order& order, unsigned* index, unsigned count);

struct Grid {
  const char* name;  // of the kernel, for messages
  dim3 grid, block;
  std::size_t shared_bytes;
  void (*thread)(void* context);  // what every thread runs
  void* context;
};
// Runs all blocks, one after another. One call at a time.
void run_grid(const Grid& grid);

// The thread whose turn it is; null outside of kernels.
struct Thread;
Thread* current();

// The thread waits until ready(context) holds, asked whenever all others have come as far as they
// can; `what` it waits for, in words. Orders nothing.
using Ready = bool (*)(const void* context);
void wait_until(const char* what, Ready ready, const void* context);
// Its number in the block, and how many there are.
unsigned thread_number();
unsigned block_threads();
std::size_t dynamic_shared_bytes();

}  // namespace emulation
