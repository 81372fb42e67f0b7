#include "device/memory.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <cstdint>
#include <cstring>
#include <new>

#include "base/error.h"
#include "device/context.h"
#include "device/context_cuda.h"

namespace orrery {

namespace {

void give_back(std::byte* memory, int) {
  ::operator delete[](memory, std::align_val_t{kAlignment});
}

// Large blocks are asked to lie in large pages: a training step walks over hundreds of megabytes in
// rows of a few kilobytes, and every page of 4 KiB costs a fault once and translations ever after.
// Only a wish; what the system answers does not matter.
constexpr std::size_t kLargeBlock = std::size_t{8} << 20;

void wish_for_large_pages([[maybe_unused]] std::byte* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
  if (bytes < kLargeBlock) return;
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = (reinterpret_cast<std::uintptr_t>(memory) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(memory) + bytes) / page * page;
  static_cast<void>(madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE));
#endif
}

}  // namespace

Block::Block(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  auto* memory =
      static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{kAlignment}, std::nothrow));
  check(memory != nullptr, "out of memory: ", bytes, " bytes were asked for");
  wish_for_large_pages(memory, bytes);
  std::memset(memory, 0, bytes);
  data_ = {memory, Free(&give_back, 0)};
}

#if ORRERY_CUDA

Block::Block(const Context& ctx, std::size_t bytes) {
  if (ctx.device() == Device::cpu) {
    *this = Block(bytes);
    return;
  }
  bytes_ = bytes;
  if (bytes == 0) return;
  data_ = {cuda::allocate(ctx.device_index(), bytes), Free(&cuda::free, ctx.device_index())};
}

Block Block::staging(const Context& ctx, std::size_t bytes) {
  if (ctx.device() == Device::cpu || bytes == 0) return Block(bytes);
  Block block;
  block.bytes_ = bytes;
  block.data_ = {cuda::allocate_locked(bytes), Free(&cuda::free_locked, 0)};
  return block;
}

#else

Block::Block(const Context&, std::size_t bytes) : Block(bytes) {}
Block Block::staging(const Context&, std::size_t bytes) { return Block(bytes); }

#endif

}  // namespace orrery
