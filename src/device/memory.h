#pragma once

#include <cstddef>
#include <memory>

#include "base/types.h"

namespace orrery {

class Context;

// 64 bytes: one cache line, one AVX-512 register
inline constexpr std::size_t kAlignment = 64;

// One owned, aligned, zeroed block of memory, of the host or of a CUDA device. Movable; copies are
// explicit. It carries its own way of being freed, which is why owners keep a Block and never a
// bare pointer. A device's block may outlive the Context that it was made with.
class Block {
 public:
  Block() = default;
  explicit Block(std::size_t bytes);  // the host's
  // where the context's operations run; error when it does not fit
  Block(const Context& ctx, std::size_t bytes);
  // The host's, and page-locked when the context is CUDA's: the source or target of copies within
  // captured work.
  static Block staging(const Context& ctx, std::size_t bytes);
  Block(Block&& other) noexcept = default;
  Block& operator=(Block&& other) noexcept = default;

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Free {
    Free() : give_back(nullptr), device(0) {}
    Free(void (*how)(std::byte*, int), int where) : give_back(how), device(where) {}
    void (*give_back)(std::byte*, int);
    int device;
    void operator()(std::byte* memory) const { give_back(memory, device); }
  };
  std::unique_ptr<std::byte[], Free> data_;
  std::size_t bytes_ = 0;
};

}  // namespace orrery
