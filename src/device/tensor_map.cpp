#include "device/tensor_map.h"

#include "base/error.h"

namespace orrery {

namespace {

constexpr i64 kUnit = 16;
constexpr i64 kLargestSize = i64{1} << 32;
constexpr i64 kLargestStride = (i64{1} << 40) - kUnit;
constexpr int kLargestBox = 256;

}  // namespace

bool tensor_map_takes(const void* data, i64 row_bytes, i64 rows, i64 stride) {
  const auto is_size = [](i64 size) { return size >= 1 && size <= kLargestSize; };
  return reinterpret_cast<std::size_t>(data) % kUnit == 0 && stride % kUnit == 0 &&
         is_size(row_bytes) && is_size(rows) && stride >= row_bytes && stride <= kLargestStride;
}

TensorMapShape tensor_map_shape(const void* data, i64 row_bytes, i64 rows, i64 stride,
                                int box_rows) {
  check(tensor_map_takes(data, row_bytes, rows, stride), "tensor map: ", rows, " rows of ",
        row_bytes, " bytes, ", stride, " bytes apart from ", reinterpret_cast<std::size_t>(data),
        " on; needed 1 to 2^32 of each, and a beginning and distances that are multiples of 16");
  check(box_rows >= 1 && box_rows <= kLargestBox, "tensor map: boxes have ", box_rows,
        " rows, needed 1 to ", kLargestBox);
  return {data,
          {static_cast<u64>(row_bytes), static_cast<u64>(rows)},
          static_cast<u64>(stride),
          {kBoxBytes, static_cast<u32>(box_rows)}};
}

}  // namespace orrery
