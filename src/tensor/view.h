#pragma once

#include <array>
#include <type_traits>

#include "base/error.h"
#include "base/host_device.h"
#include "tensor/shape.h"

namespace orrery {

// A typed window on memory that somebody else owns: pointer, sizes, strides (in elements),
// outermost first. Cheap to copy. An empty view (data() == nullptr) stands for "not given". Whose
// memory it is, the host's or a CUDA device's, the Context that goes with it says; kernels take
// views as they are.
template <typename T, int Rank>
class View {
  static_assert(Rank >= 1 && Rank <= Shape::kMaxRank);

 public:
  using Sizes = std::array<i64, static_cast<std::size_t>(Rank)>;

  View() = default;

  // contiguous, row-major
  ORRERY_HD View(T* data, Sizes sizes) : data_(data), sizes_(sizes) {
    i64 stride = 1;
    for (int d = Rank - 1; d >= 0; --d) {
      strides_[at(d)] = stride;
      stride *= sizes_[at(d)];
    }
  }
  ORRERY_HD View(T* data, Sizes sizes, Sizes strides)
      : data_(data), sizes_(sizes), strides_(strides) {}

  // a view of T is a view of const T
  template <typename U>
  requires(std::is_same_v<const U, T> && !std::is_const_v<U>) ORRERY_HD
      View(const View<U, Rank>& other)  // NOLINT: implicit on purpose
      : data_(other.data()), sizes_(other.sizes()), strides_(other.strides()) {}

  ORRERY_HD T* data() const { return data_; }
  ORRERY_HD explicit operator bool() const { return data_ != nullptr; }
  ORRERY_HD i64 size(int d) const { return sizes_[at(d)]; }
  ORRERY_HD i64 stride(int d) const { return strides_[at(d)]; }
  ORRERY_HD const Sizes& sizes() const { return sizes_; }
  ORRERY_HD const Sizes& strides() const { return strides_; }
  Shape shape() const { return Shape(std::span<const i64>(sizes_.data(), sizes_.size())); }
  ORRERY_HD i64 numel() const {
    i64 product = 1;
    for (const i64 size : sizes_) product *= size;
    return product;
  }
  ORRERY_HD bool contiguous() const {
    i64 stride = 1;
    for (int d = Rank - 1; d >= 0; --d) {
      if (sizes_[at(d)] != 1 && strides_[at(d)] != stride) return false;
      stride *= sizes_[at(d)];
    }
    return true;
  }

  template <typename... Index>
  requires(sizeof...(Index) == Rank) ORRERY_HD T& operator()(Index... index) const {
    const Sizes position = {static_cast<i64>(index)...};
    i64 offset = 0;
    for (std::size_t d = 0; d < position.size(); ++d) {
      ORRERY_ASSERT(position[d] >= 0 && position[d] < sizes_[d]);
      offset += position[d] * strides_[d];
    }
    return data_[offset];
  }

  // view[i]: one rank less; of a rank-1 view, the element
  ORRERY_HD decltype(auto) operator[](i64 index) const {
    ORRERY_ASSERT(index >= 0 && index < sizes_[0]);
    if constexpr (Rank == 1) {
      return static_cast<T&>(data_[index * strides_[0]]);
    } else {
      typename View<T, Rank - 1>::Sizes sizes, strides;
      for (int d = 1; d < Rank; ++d) {
        sizes[static_cast<std::size_t>(d - 1)] = sizes_[at(d)];
        strides[static_cast<std::size_t>(d - 1)] = strides_[at(d)];
      }
      return View<T, Rank - 1>(data_ + index * strides_[0], sizes, strides);
    }
  }

  // [begin, end) of one dimension
  ORRERY_HD View slice(int d, i64 begin, i64 end) const {
    ORRERY_ASSERT(begin >= 0 && begin <= end && end <= sizes_[at(d)]);
    View result = *this;
    result.data_ += begin * strides_[at(d)];
    result.sizes_[at(d)] = end - begin;
    return result;
  }

  // two dimensions exchanged; no data moves
  View transposed(int a = 0, int b = 1) const {
    View result = *this;
    std::swap(result.sizes_[at(a)], result.sizes_[at(b)]);
    std::swap(result.strides_[at(a)], result.strides_[at(b)]);
    return result;
  }

  // the same elements of a contiguous view under other sizes
  template <int NewRank>
  View<T, NewRank> reshaped(typename View<T, NewRank>::Sizes sizes) const {
    const View<T, NewRank> result(data_, sizes);
    ORRERY_ASSERT(contiguous() && result.numel() == numel());
    return result;
  }
  // all leading dimensions merged: [rows, size of the last dimension]
  View<T, 2> as_rows() const {
    const i64 width = size(Rank - 1);
    return reshaped<2>({width == 0 ? 0 : numel() / width, width});
  }
  View<T, 1> flat() const { return reshaped<1>({numel()}); }

 private:
  ORRERY_HD static constexpr std::size_t at(int d) { return static_cast<std::size_t>(d); }

  T* data_ = nullptr;
  Sizes sizes_ = {};
  Sizes strides_ = {};
};

}  // namespace orrery
