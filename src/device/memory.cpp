#include "device/memory.h"

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

}  // namespace

Block::Block(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  auto* memory =
      static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{kAlignment}, std::nothrow));
  check(memory != nullptr, "out of memory: ", bytes, " bytes were asked for");
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
