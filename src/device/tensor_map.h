#pragma once

// What the bulk copy engine of compute capability 9.0 (TMA) is told of a matrix in the device's
// memory, and where it puts what it brings: plain functions, tested where there is no device.
//
// source: CUDA driver API, "Tensor Map Object Management"; PTX ISA 8.x, "Swizzling modes"

#include "base/types.h"

namespace orrery {

// A matrix and the boxes it is loaded in. Its elements are bytes, whatever they mean; the inner
// dimension comes first. What a box has beyond the matrix is filled with zeros.
struct TensorMapShape {
  const void* data;
  u64 sizes[2];    // bytes of a row, rows
  u64 row_stride;  // bytes
  u32 box[2];      // the same of a box: kBoxBytes, rows

  constexpr u32 box_bytes() const { return box[0] * box[1]; }
};

// Bytes of a row of a box: what swizzling over 128 bytes takes, and one line of the cache.
inline constexpr u32 kBoxBytes = 128;

// Whether the engine takes the matrix [rows, row_bytes] whose rows lie `stride` bytes apart: data
// and stride are multiples of 16, a stride from row_bytes to 2^40 - 16, sizes from 1 to 2^32.
bool tensor_map_takes(const void* data, i64 row_bytes, i64 rows, i64 stride);

// Such a matrix in boxes of box_rows rows, 1 to 256. Error when the engine does not take it.
TensorMapShape tensor_map_shape(const void* data, i64 row_bytes, i64 rows, i64 stride,
                                int box_rows);

// Where byte `byte` of row `row` of a box lies behind its beginning, a multiple of 1024: rows after
// one another, and piece c of 16 bytes of row r in place c ^ (r % 8).
constexpr u32 box_place(u32 row, u32 byte) {
  return row * kBoxBytes + (byte / 16 ^ row % 8) * 16 + byte % 16;
}

}  // namespace orrery
