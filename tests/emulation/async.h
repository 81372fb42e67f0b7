#pragma once

// What is under way beside a block's threads: asynchronous copies; and of compute capability 9.0
// barriers that count arrivals and bytes, loads of boxes, products of warpgroups. Here is only who
// waits for what; copy.cpp and hopper.cpp touch the kernel's memory. Compiled without
// ThreadSanitizer's instrumentation.

#include <cstdint>

#include "emulation/hopper.h"

namespace emulation {

// A block begins, and all its threads have ended: nothing may be under way then.
void begin_async();
void end_async();

// Asynchronous copies of the thread whose turn it is: see cp_async in device/ptx.h.
struct Copy {
  void* to;
  const void* from;
  unsigned bytes;
  bool valid;      // false: zeros
  unsigned group;  // how many groups had been committed when it was asked for
};
void add_copy(const Copy& copy);
// The oldest copy that must be done for no more than `pending` groups to be left; false: none.
bool take_copy(Copy& copy, unsigned pending);

// Barriers. A load completes its bytes when it has written them.
void complete_bytes(std::uint64_t* barrier, unsigned bytes);
bool barrier_passed(const std::uint64_t* barrier, unsigned parity);
void wait_for_barrier(const std::uint64_t* barrier, unsigned parity);
// what was ordered before the phase that ended with `parity` is from here on
void order_after_barrier(std::uint64_t* barrier, unsigned parity);

// what a tensor map holds here
struct TensorMap {
  std::uint64_t magic;
  const unsigned char* data;
  std::uint64_t sizes[2];  // elements
  std::uint64_t row_stride;
  std::uint32_t box[2];
  std::uint32_t element_bytes, swizzled;
};

struct Load {
  TensorMap map;
  std::uint32_t to;  // address in shared memory
  int inner, outer;
  std::uint64_t* barrier;
};
// Keeps it for the first that waits for its barrier; false: it is to be done at once. Which of the
// two follows the order of turns, for a kernel that relies on either is wrong.
bool keep_load(const Load& load);
bool take_load(Load& load, const std::uint64_t* barrier);

struct WarpgroupProduct {
  WarpgroupKind kind;
  void* d;
  std::uint64_t a, b;
  unsigned group;
};
// Meets the warpgroup's other threads, then keeps the product until it is waited for.
void keep_product(const WarpgroupProduct& product);
// A wait: the oldest ones, in order, until at most `pending` groups are left.
void begin_products();
bool take_product(WarpgroupProduct& product, unsigned pending);
void end_products();

}  // namespace emulation
