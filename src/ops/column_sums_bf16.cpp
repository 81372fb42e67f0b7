#include "ops/column_sums_bf16.h"

#include <algorithm>

#include "base/error.h"
#include "ops/pieces.h"

namespace orrery {

namespace cuda {
void add_column_sums(Context& ctx, View<const bf16, 2> x, View<float, 1> sums);
}  // namespace cuda

namespace cpu {

void add_column_sums(Context& ctx, View<const bf16, 2> x, View<float, 1> sums) {
  const i64 rows = x.size(0), cols = x.size(1);
  // one row of partial sums per piece, then added in order
  const i64 grain = rows_per_piece(rows);
  auto* partial = reinterpret_cast<float*>(
      ctx.shared_scratch(static_cast<std::size_t>(piece_count(rows) * cols) * sizeof(float)));
  ctx.parallel_ranges(rows, grain, [&](i64 begin, i64 end, int) {
    float* own = partial + begin / grain * cols;
    std::fill_n(own, cols, 0.0f);
    for (i64 r = begin; r < end; ++r) {
      const bf16* row = x.data() + r * x.stride(0);
      for (i64 c = 0; c < cols; ++c) own[c] += row[c];
    }
  });
  for (i64 piece = 0; piece < piece_count(rows); ++piece) {
    for (i64 c = 0; c < cols; ++c) sums(c) += partial[piece * cols + c];
  }
}

}  // namespace cpu

void add_column_sums(Context& ctx, View<const bf16, 2> x, View<float, 1> sums) {
  check(sums.size(0) == x.size(1) && x.stride(1) == 1 && sums.contiguous(),
        "add_column_sums: x is ", x.shape(), ", sums ", sums.shape(),
        "; rows of contiguous values and one sum a column were needed");
  if (x.numel() == 0) return;
  ORRERY_ON_DEVICE(ctx, add_column_sums, x, sums);
}

}  // namespace orrery
