#include "tests/allocations/counter.h"

#include <atomic>
#include <cerrno>
#include <cstddef>

// sanitizers bring their own malloc; two in one program do not go together
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ORRERY_COUNTS_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ORRERY_COUNTS_ALLOCATIONS 0
#endif
#endif
#ifndef ORRERY_COUNTS_ALLOCATIONS
#define ORRERY_COUNTS_ALLOCATIONS 1
#endif

namespace {

std::atomic<orrery::i64> allocation_count = 0;

}  // namespace

#if ORRERY_COUNTS_ALLOCATIONS
extern "C" {

// what glibc calls its own; the names below stand in front of them, and free stays as it is
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* memory, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

void* malloc(std::size_t bytes) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(bytes);
}
void* calloc(std::size_t count, std::size_t bytes) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(count, bytes);
}
void* realloc(void* memory, std::size_t bytes) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(memory, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) {
  *memory = memalign(alignment, bytes);
  return *memory == nullptr ? ENOMEM : 0;
}

}  // extern "C"
#endif

namespace orrery {

i64 allocations() { return allocation_count.load(); }
bool allocations_are_counted() { return ORRERY_COUNTS_ALLOCATIONS != 0; }

}  // namespace orrery
