#include "ops/elementwise.h"

#include <algorithm>

#include "ops/column_parts_device.h"
#include "ops/rows_device.h"

namespace orrery::cuda {

namespace {

struct Add {
  const float *a, *b;
  float* y;

  template <bool kAligned>
  __device__ void four(i64, i64, i64 k, i64 count) const {
    Four sum = load_four<kAligned>(a + k, count);
    const Four added = load_four<kAligned>(b + k, count);
#pragma unroll
    for (int n = 0; n < 4; ++n) sum.v[n] += added.v[n];
    store_four<kAligned>(sum, y + k, count);
  }
};

struct AddScaled {
  float factor;
  const float* x;
  float* y;

  // rounded twice, as on the CPU
  template <bool kAligned>
  __device__ void four(i64, i64, i64 k, i64 count) const {
    Four sum = load_four<kAligned>(y + k, count);
    const Four added = load_four<kAligned>(x + k, count);
#pragma unroll
    for (int n = 0; n < 4; ++n) sum.v[n] = __fadd_rn(sum.v[n], __fmul_rn(factor, added.v[n]));
    store_four<kAligned>(sum, y + k, count);
  }
};

struct Scale {
  float factor;
  float* x;

  template <bool kAligned>
  __device__ void four(i64, i64, i64 k, i64 count) const {
    Four value = load_four<kAligned>(x + k, count);
#pragma unroll
    for (int n = 0; n < 4; ++n) value.v[n] *= factor;
    store_four<kAligned>(value, x + k, count);
  }
};

constexpr int kWarps = 4;

// memory-bound, and small: one warp a row
template <bool kAligned>
__global__ void squared_distances_kernel(View<const float, 3> a, View<const float, 3> b,
                                         float factor, float* out) {
  const i64 row = static_cast<i64>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const i64 i = row / a.size(1);
  const i64 j = row - i * a.size(1);
  if (i >= a.size(0)) return;
  const i64 lane = threadIdx.x % kWarp;
  const i64 dim = a.size(2);
  const float* left = a.data() + i * a.stride(0) + j * a.stride(1);
  const float* right = b.data() + i * b.stride(0) + j * b.stride(1);
  float sum = 0;
  for (i64 k = 4 * lane; k < dim; k += 4 * kWarp) {
    const Four x = load_four<kAligned>(left + k, dim - k);
    const Four y = load_four<kAligned>(right + k, dim - k);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const float difference = x.v[n] - y.v[n];
      sum = fmaf(difference, difference, sum);
    }
  }
  sum = group_sum(sum);
  if (lane == 0) out[row] = factor * sum;
}

// Sums of columns: a block has 32 columns of a piece of the rows, its 8 warps take rows in turn,
// and their sums meet in the order of the warps; then the pieces' in the order of the pieces.
constexpr int kColumnWarps = 8;
// as many pieces as give about two blocks a multiprocessor of an H100 where columns alone do not,
// of at least 64 rows
i64 pieces_of(i64 rows, i64 cols) {
  const i64 most = (rows + 63) / 64;
  const i64 wanted = std::max<i64>(1, 264 / ((cols + kWarp - 1) / kWarp));
  return std::max<i64>(1, std::min(most, wanted));
}

// memory-bound: every value is read once, 128 neighbouring bytes a warp
__global__ void column_sums_kernel(const float* x, i64 stride, i64 rows, i64 cols, i64 piece,
                                   float* parts) {
  __shared__ float of_warps[kColumnWarps][kWarp];
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int warp = static_cast<int>(threadIdx.x / kWarp);
  const i64 c = static_cast<i64>(blockIdx.x) * kWarp + lane;
  const i64 begin = static_cast<i64>(blockIdx.y) * piece;
  const i64 end = begin + piece < rows ? begin + piece : rows;
  float even = 0, odd = 0;
  if (c < cols) {
    i64 r = begin + warp;
    for (; r + kColumnWarps < end; r += 2 * kColumnWarps) {
      even += x[r * stride + c];
      odd += x[(r + kColumnWarps) * stride + c];
    }
    if (r < end) even += x[r * stride + c];
  }
  of_warps[warp][lane] = even + odd;
  __syncthreads();
  if (warp != 0 || c >= cols) return;
  float sum = 0;
  for (int w = 0; w < kColumnWarps; ++w) sum += of_warps[w][lane];
  parts[static_cast<i64>(blockIdx.y) * cols + c] = sum;
}

}  // namespace

void add(Context& ctx, View<const float, 1> a, View<const float, 1> b, View<float, 1> y) {
  pass_over_rows(ctx, "add", in_fours(a) && in_fours(b) && in_fours(y), 1, 1, y.size(0),
                 Add{a.data(), b.data(), y.data()});
}

void add_scaled(Context& ctx, float factor, View<const float, 1> x, View<float, 1> y) {
  pass_over_rows(ctx, "add_scaled", in_fours(x) && in_fours(y), 1, 1, y.size(0),
                 AddScaled{factor, x.data(), y.data()});
}

void scale(Context& ctx, float factor, View<float, 1> x) {
  pass_over_rows(ctx, "scale", in_fours(x), 1, 1, x.size(0), Scale{factor, x.data()});
}

void add_column_sums(Context& ctx, View<const float, 2> x, View<float, 1> sums) {
  const i64 rows = x.size(0), cols = x.size(1);
  if (rows == 0 || cols == 0) return;
  const i64 pieces = pieces_of(rows, cols);
  const i64 piece = (rows + pieces - 1) / pieces;
  auto* parts = reinterpret_cast<float*>(
      ctx.shared_scratch(static_cast<std::size_t>(pieces * cols) * sizeof(float)));
  launch(ctx,
         {"add_column_sums", dim3(blocks_for(cols, kWarp), blocks_for(rows, piece)),
          dim3(kColumnWarps * kWarp)},
         column_sums_kernel, x.data(), x.stride(0), rows, cols, piece, parts);
  add_parts(ctx, "add_column_sums", parts, blocks_for(rows, piece), cols, cols, sums.data());
}

void squared_distances(Context& ctx, View<const float, 3> a, View<const float, 3> b, float factor,
                       View<float, 2> out) {
  const auto kernel =
      in_fours(a) && in_fours(b) ? squared_distances_kernel<true> : squared_distances_kernel<false>;
  launch(ctx, {"squared_distances", dim3(blocks_for(out.numel(), kWarps)), dim3(kWarps * kWarp)},
         kernel, a, b, factor, out.data());
}

}  // namespace orrery::cuda
