#include "ops/column_sums_bf16.h"

#include "ops/column_parts_device.h"

namespace orrery::cuda {

namespace {

constexpr int kThreads = 128;

// Memory-bound: reads x once, 256 contiguous bytes a warp. A thread has four columns of a worker's
// rows, which it adds up in order.
template <bool kAligned>
__global__ void __launch_bounds__(kThreads)
    column_parts_kernel(View<const bf16, 2> x, i64 rows_per_worker, float* parts) {
  const i64 cols = x.size(1);
  const i64 column = 4 * (static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x);
  if (column >= cols) return;
  const i64 begin = static_cast<i64>(blockIdx.y) * rows_per_worker;
  const i64 end = begin + rows_per_worker < x.size(0) ? begin + rows_per_worker : x.size(0);
  Four sum = {};
  for (i64 row = begin; row < end; ++row) {
    const Four four = load_four<kAligned>(x.data() + row * x.stride(0) + column, cols - column);
#pragma unroll
    for (int n = 0; n < 4; ++n) sum.v[n] += four.v[n];
  }
  store_four<kAligned>(sum, parts + static_cast<i64>(blockIdx.y) * cols + column, cols - column);
}

}  // namespace

void add_column_sums(Context& ctx, View<const bf16, 2> x, View<float, 1> sums) {
  const i64 rows = x.size(0), cols = x.size(1), workers = part_count(rows);
  auto* parts = reinterpret_cast<float*>(
      ctx.shared_scratch(static_cast<std::size_t>(workers * cols) * sizeof(float)));
  const Launch shape = {"add_column_sums",
                        dim3(blocks_for(cols, 4 * kThreads), static_cast<unsigned>(workers)),
                        dim3(kThreads)};
  launch(ctx, shape, in_fours(x) ? column_parts_kernel<true> : column_parts_kernel<false>, x,
         rows_per_part(rows), parts);
  add_parts(ctx, "add_column_sums", parts, workers, cols, cols, sums.data());
}

}  // namespace orrery::cuda
