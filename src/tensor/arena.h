#pragma once

#include <cstddef>

#include "base/error.h"
#include "device/memory.h"
#include "tensor/view.h"

namespace orrery {

// Hands out views of one block, one after the other. A state describes its layout once, as a
// function of an Arena; run on a measuring arena it tells the bytes needed, run on a real one it
// fills the state:
//
//   Arena measure;
//   lay_out(measure, state);
//   state.memory = Block(measure.used());
//   Arena arena(state.memory);
//   lay_out(arena, state);
class Arena {
 public:
  Arena() = default;  // measures only: views are empty
  explicit Arena(Block& block) : base_(block.data()), capacity_(block.bytes()) {}

  template <typename T, int Rank>
  View<T, Rank> take(typename View<T, Rank>::Sizes sizes) {
    i64 count = 1;
    for (const i64 size : sizes) {
      check(size >= 0 && !__builtin_mul_overflow(count, size, &count),
            "arena: a size is negative or too large");
    }
    const std::size_t bytes =
        (static_cast<std::size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    T* data = nullptr;
    if (base_ != nullptr) {
      check(used_ + bytes <= capacity_, "arena: ", used_ + bytes, " bytes asked for, ", capacity_,
            " there");
      data = reinterpret_cast<T*>(base_ + used_);
    }
    used_ += bytes;
    return View<T, Rank>(data, sizes);
  }

  std::size_t used() const { return used_; }

 private:
  std::byte* base_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t used_ = 0;
};

}  // namespace orrery
