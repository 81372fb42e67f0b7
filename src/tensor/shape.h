#pragma once

#include <array>
#include <initializer_list>
#include <ostream>
#include <span>

#include "base/error.h"
#include "base/types.h"

namespace orrery {

// Sizes of up to eight dimensions, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<i64> sizes)
      : Shape(std::span<const i64>(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const i64> sizes) : rank_(static_cast<int>(sizes.size())) {
    check(sizes.size() <= kMaxRank, "shape has ", sizes.size(), " dimensions, at most ", kMaxRank,
          " are supported");
    for (int d = 0; d < rank_; ++d)
      sizes_[static_cast<std::size_t>(d)] = sizes[static_cast<std::size_t>(d)];
  }

  int rank() const { return rank_; }
  i64 operator[](int d) const { return sizes_[static_cast<std::size_t>(d)]; }
  i64& operator[](int d) { return sizes_[static_cast<std::size_t>(d)]; }
  i64 numel() const {
    i64 product = 1;
    for (int d = 0; d < rank_; ++d) product *= (*this)[d];
    return product;
  }
  std::span<const i64> sizes() const { return {sizes_.data(), static_cast<std::size_t>(rank_)}; }

  friend bool operator==(const Shape& a, const Shape& b) {
    if (a.rank_ != b.rank_) return false;
    for (int d = 0; d < a.rank_; ++d) {
      if (a[d] != b[d]) return false;
    }
    return true;
  }
  // prints (2, 3, 4)
  friend std::ostream& operator<<(std::ostream& out, const Shape& shape) {
    out << "(";
    for (int d = 0; d < shape.rank_; ++d) out << (d ? ", " : "") << shape[d];
    return out << ")";
  }

 private:
  std::array<i64, kMaxRank> sizes_ = {};
  int rank_ = 0;
};

}  // namespace orrery
