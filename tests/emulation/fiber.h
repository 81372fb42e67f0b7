#pragma once

// A stack of its own and the way from one to another, with what the sanitizers must be told.

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATION_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATION_ASAN 1
#endif
#endif
#if defined(EMULATION_TSAN_RUNTIME)
#define EMULATION_TSAN 1
#endif

#if defined(EMULATION_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(EMULATION_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace emulation {

// Where a stack left off, and what the sanitizers know it by.
struct Stack {
  void* stopped_at = nullptr;  // its stack pointer
  char* low = nullptr;         // lowest usable address
  std::size_t bytes = 0;
  void* fake_stack = nullptr;  // of AddressSanitizer
  void* identity = nullptr;    // of ThreadSanitizer: a thread in its eyes
};

// Prepares a stack so that switching to it calls entry(), which never returns.
void prepare(Stack& stack, void (*entry)());
// Goes from the stack we are on to another one, and comes back when that one (or another) switches
// here. `last`: we shall not come back.
void switch_stack(Stack& from, Stack& to, bool last = false);
// First thing to be done on a new stack, which `from` switched to.
void arrived(Stack& here, Stack& from);

// Nothing that these say orders anything unless a thread of the kernel says it too: under
// ThreadSanitizer two threads of a kernel race as they do on a device.
inline void release(void* what) {
#if defined(EMULATION_TSAN)
  __tsan_release(what);
#else
  static_cast<void>(what);
#endif
}
inline void acquire(void* what) {
#if defined(EMULATION_TSAN)
  __tsan_acquire(what);
#else
  static_cast<void>(what);
#endif
}

}  // namespace emulation
