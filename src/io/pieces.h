#pragma once

#include <array>
#include <cstddef>

#include "tensor/shape.h"

namespace orrery {

// Rows of an array whose chunks may cut them: a chunk holds a block `piece` of each of its rows
// `row`. Edge pieces are stored whole, what lies outside of the row is without meaning. Pieces are
// counted with the last dimension fastest.
struct Pieces {
  Shape row;
  Shape piece;  // of the same rank, no size 0
  i64 element_bytes = 1;

  using Corner = std::array<i64, Shape::kMaxRank>;

  // one piece, which is the row
  bool whole() const { return piece == row; }
  i64 count() const;
  // of one row
  i64 piece_bytes() const { return piece.numel() * element_bytes; }
  i64 row_bytes() const { return row.numel() * element_bytes; }
  // where a piece begins in the row
  Corner corner(i64 index) const;
  // Copies piece `index` of `rows` rows, one after the other, into these rows.
  void scatter(i64 index, i64 rows, const std::byte* from, std::byte* out) const;
};

}  // namespace orrery
