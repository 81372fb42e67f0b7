#include "io/pieces.h"

#include <algorithm>
#include <cstring>

namespace orrery {

i64 Pieces::count() const {
  i64 all = 1;
  for (int d = 0; d < row.rank(); ++d) all *= (row[d] + piece[d] - 1) / piece[d];
  return all;
}

Pieces::Corner Pieces::corner(i64 index) const {
  Corner at = {};
  for (int d = row.rank() - 1; d >= 0; --d) {
    const i64 along = (row[d] + piece[d] - 1) / piece[d];
    at[static_cast<std::size_t>(d)] = index % along * piece[d];
    index /= along;
  }
  return at;
}

namespace {

// of one row, from dimension d on
void scatter_row(const Pieces& pieces, const Pieces::Corner& corner, int d, const std::byte* from,
                 std::byte* out) {
  const int rank = pieces.row.rank();
  i64 inner_piece = pieces.element_bytes, inner_row = pieces.element_bytes;
  for (int k = d + 1; k < rank; ++k) {
    inner_piece *= pieces.piece[k];
    inner_row *= pieces.row[k];
  }
  const i64 first = d < rank ? corner[static_cast<std::size_t>(d)] : 0;
  const i64 count = d < rank ? std::min(pieces.piece[d], pieces.row[d] - first) : 1;
  out += first * inner_row;
  if (d >= rank - 1) {
    std::memcpy(out, from, static_cast<std::size_t>(count * inner_row));
    return;
  }
  for (i64 i = 0; i < count; ++i) {
    scatter_row(pieces, corner, d + 1, from + i * inner_piece, out + i * inner_row);
  }
}

}  // namespace

void Pieces::scatter(i64 index, i64 rows, const std::byte* from, std::byte* out) const {
  const Corner at = corner(index);
  for (i64 r = 0; r < rows; ++r) {
    scatter_row(*this, at, 0, from + r * piece_bytes(), out + r * row_bytes());
  }
}

}  // namespace orrery
