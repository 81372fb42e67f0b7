#pragma once

#include <cstddef>
#include <memory>

#include "base/types.h"

namespace orrery {

// 64 bytes: one cache line, one AVX-512 register
inline constexpr std::size_t kAlignment = 64;

// One owned, aligned, zeroed block of memory. Movable; copies are explicit. On a CUDA device the
// block will carry its deleter, which is why owners keep a Block and never a bare pointer.
class Block {
 public:
  Block() = default;
  explicit Block(std::size_t bytes);
  Block(Block&& other) noexcept = default;
  Block& operator=(Block&& other) noexcept = default;

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte[], Free> data_;
  std::size_t bytes_ = 0;
};

}  // namespace orrery
