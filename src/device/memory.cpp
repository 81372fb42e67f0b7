#include "device/memory.h"

#include <cstring>
#include <new>

#include "base/error.h"

namespace orrery {

Block::Block(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  auto* memory =
      static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{kAlignment}, std::nothrow));
  check(memory != nullptr, "out of memory: ", bytes, " bytes were asked for");
  std::memset(memory, 0, bytes);
  data_.reset(memory);
}

void Block::Free::operator()(std::byte* memory) const {
  ::operator delete[](memory, std::align_val_t{kAlignment});
}

}  // namespace orrery
