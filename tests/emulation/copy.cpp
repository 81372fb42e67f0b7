// Asynchronous copies and what else touches the kernel's memory on its behalf: instrumented, and
// run by the thread that asked, so that it races where the kernel would.

#include <chrono>
#include <cstdlib>

#include "async.h"
#include "emulation/fragments.h"

namespace emulation {

void check_aligned(const void* pointer, unsigned bytes, const char* what) {
  if (reinterpret_cast<std::uintptr_t>(pointer) % bytes != 0) {
    fail("%s at %p, which is not a multiple of %u", what, pointer, bytes);
  }
}

namespace {

void perform(const Copy& copy) {
  auto* to = static_cast<std::uint32_t*>(copy.to);
  const auto* from = static_cast<const std::uint32_t*>(copy.from);
  for (unsigned i = 0; i < copy.bytes / 4; ++i) to[i] = copy.valid ? from[i] : 0;
}

}  // namespace

void copy_async(void* to, const void* from, unsigned bytes, bool valid) {
  check_aligned(to, bytes, "cp.async writes");
  // of what is not there no byte is read, wherever it would be
  if (valid) check_aligned(from, bytes, "cp.async reads");
  add_copy({to, from, bytes, valid, 0});
}

void copy_wait(unsigned pending) {
  Copy copy;
  while (take_copy(copy, pending)) perform(copy);
}

void copy_wait_all() {
  copy_commit();
  copy_wait(0);
}

std::uint64_t nanoseconds() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count());
}

}  // namespace emulation
