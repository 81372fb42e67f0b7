#pragma once

#include <cstring>
#include <map>
#include <string>

#include "device/memory.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"
#include "tensor/view.h"

namespace orrery {

// Owned, contiguous, row-major values of one type. Moves; clone() copies.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, Shape shape);  // zeros

  template <typename T>
  static Tensor zeros(Shape shape) {
    return Tensor(dtype_of<T>, shape);
  }
  template <typename T>
  static Tensor of(Shape shape, std::span<const T> values) {
    Tensor tensor(dtype_of<T>, shape);
    check(static_cast<i64>(values.size()) == shape.numel(), "tensor of shape ", shape,
          " was given ", values.size(), " values");
    if (!values.empty()) std::memcpy(tensor.bytes(), values.data(), values.size_bytes());
    return tensor;
  }

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  i64 size(int d) const { return shape_[d]; }
  int rank() const { return shape_.rank(); }
  i64 numel() const { return shape_.numel(); }
  i64 byte_count() const { return numel() * element_bytes(dtype_); }
  std::byte* bytes() { return block_.data(); }
  const std::byte* bytes() const { return block_.data(); }

  template <typename T>
  T* data() {
    must_hold(dtype_of<T>);
    return reinterpret_cast<T*>(block_.data());
  }
  template <typename T>
  const T* data() const {
    must_hold(dtype_of<T>);
    return reinterpret_cast<const T*>(block_.data());
  }
  template <typename T>
  std::span<const T> span() const {
    return {data<T>(), static_cast<std::size_t>(numel())};
  }
  template <typename T, int Rank>
  View<T, Rank> view() {
    return View<T, Rank>(data<T>(), sizes<T, Rank>());
  }
  template <typename T, int Rank>
  View<const T, Rank> view() const {
    return View<const T, Rank>(data<T>(), sizes<T, Rank>());
  }

  Tensor clone() const;
  // the same values under another shape with as many elements
  Tensor reshaped(Shape shape) &&;
  // values converted one by one to T (from any number type)
  Tensor converted(DType dtype) const;

 private:
  void must_hold(DType wanted) const {
    check(wanted == dtype_, "tensor holds ", dtype_, ", ", wanted, " was asked for");
  }
  template <typename T, int Rank>
  typename View<T, Rank>::Sizes sizes() const {
    check(shape_.rank() == Rank, "tensor has shape ", shape_, ", ", Rank,
          " dimensions were asked for");
    typename View<T, Rank>::Sizes result;
    for (int d = 0; d < Rank; ++d) result[static_cast<std::size_t>(d)] = shape_[d];
    return result;
  }

  DType dtype_ = DType::f32;
  Shape shape_ = {0};
  Block block_;
};

// Named tensors, in name order: what a checkpoint file holds.
using TensorMap = std::map<std::string, Tensor>;

}  // namespace orrery
