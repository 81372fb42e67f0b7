#pragma once

#include <cstddef>
#include <limits>
#include <optional>
#include <span>

#include "tensor/tensor.h"

namespace orrery {

// a * b, nothing when it does not fit or one is negative
inline std::optional<i64> checked_product(i64 a, i64 b) {
  i64 product = 0;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// Bytes that a tensor of these sizes takes; nothing when they cannot be counted.
inline std::optional<i64> checked_bytes_of(DType dtype, std::span<const i64> sizes) {
  std::optional<i64> total = element_bytes(dtype);
  for (const i64 size : sizes) {
    if (total) total = checked_product(*total, size);
  }
  return total;
}

// A byte of a file that is neither 0 nor 1 would be no bool: everything but 0 becomes 1, as NumPy
// and PyTorch read it.
inline void make_booleans_valid(Tensor& tensor) {
  if (tensor.dtype() != DType::boolean) return;
  auto* values = reinterpret_cast<u8*>(tensor.bytes());
  for (i64 i = 0; i < tensor.numel(); ++i) values[i] = values[i] != 0 ? 1 : 0;
}

// A contiguous tensor of the values at `first` that are `strides` (in elements) apart. The caller
// has checked that every one of them lies in its memory.
Tensor gather_strided(DType dtype, const Shape& shape, const std::byte* first,
                      std::span<const i64> strides);

}  // namespace orrery
