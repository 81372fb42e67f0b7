#pragma once

#include <algorithm>

#include "base/types.h"

namespace orrery {

// How sums over many rows are cut: pieces of equal size that depend only on the number of rows, so
// that the order of additions, and with it every bit, is the same for any number of threads. At
// most 64 pieces, at least 32 rows each.
inline i64 rows_per_piece(i64 rows) { return std::max<i64>(32, (rows + 63) / 64); }
inline i64 piece_count(i64 rows) {
  return (rows + rows_per_piece(rows) - 1) / rows_per_piece(rows);
}

// values of an array that one task passes over: 64 KiB of f32, so that handing out the task costs
// nothing beside it
inline constexpr i64 kValuesPerPiece = 16384;

}  // namespace orrery
