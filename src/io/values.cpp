#include "io/values.h"

#include <cstring>

namespace orrery {
namespace {

// copies dimension d of the source, returns where the next value goes
std::byte* gather(const Shape& shape, std::span<const i64> strides, i64 element, int d,
                  const std::byte* from, std::byte* to) {
  if (d == shape.rank()) {
    std::memcpy(to, from, static_cast<std::size_t>(element));
    return to + element;
  }
  const i64 stride = strides[static_cast<std::size_t>(d)];
  // the last dimension is often contiguous even where the whole is not
  if (d == shape.rank() - 1 && stride == 1) {
    std::memcpy(to, from, static_cast<std::size_t>(shape[d] * element));
    return to + shape[d] * element;
  }
  for (i64 i = 0; i < shape[d]; ++i) {
    to = gather(shape, strides, element, d + 1, from + i * stride * element, to);
  }
  return to;
}

}  // namespace

Tensor gather_strided(DType dtype, const Shape& shape, const std::byte* first,
                      std::span<const i64> strides) {
  Tensor tensor(dtype, shape);
  if (tensor.numel() > 0) gather(shape, strides, element_bytes(dtype), 0, first, tensor.bytes());
  make_booleans_valid(tensor);
  return tensor;
}

}  // namespace orrery
