// Products that sum over the rows of both factors: gradients of weights. Rows are many (tokens of a
// batch) and columns few (a model's widths), so blocks share the rows in slices, each writes what
// its slice adds, and a second kernel adds the slices in order.
//
// Tiles lie in shared memory as they lie in memory, a row after the other: the transposed form of
// ldmatrix turns both factors on their way to the tensor cores, and plain multiply-adds want four
// neighbouring columns anyway. Nothing is turned in memory.

#include "ops/gemm_columns_device.h"

#include "device/ptx.h"
#include "ops/warp_device.h"

namespace orrery::cuda {

namespace {

// a factor whose columns are summed over
template <typename T>
struct ColumnsOf {
  View<const T, 2> rows;
  bool aligned;  // in fours
};

// what one block makes: columns [first_a, ..) x [first_b, ..) over rows [begin, end)
struct Slice {
  i64 first_a, first_b, begin, end;
  float* to;  // [m, n]
};

// Neighbouring blocks share a slice, so that one's rows are the other's in the L2 cache.
template <int kCols>
__device__ inline Slice slice_of(i64 rows, i64 m, i64 n, i64 rows_each, float* parts) {
  const i64 across = (n + kCols - 1) / kCols, tiles = (m + kCols - 1) / kCols * across;
  const i64 slice = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  const i64 begin = slice * rows_each;
  return {tile / across * kCols, tile % across * kCols, begin,
          begin + rows_each < rows ? begin + rows_each : rows, parts + slice * m * n};
}

// four values as they are, or zeros outside of the slice
template <typename T>
struct Piece {
  using Raw = std::conditional_t<std::is_same_v<T, float>, float4, uint2>;
  Raw raw;

  __device__ void load(const ColumnsOf<T>& from, i64 row, i64 end, i64 column) {
    raw = {};
    const i64 left = from.rows.size(1) - column;
    if (row >= end || left <= 0) return;
    const T* at = from.rows.data() + row * from.rows.stride(0) + column;
    if (from.aligned) {
      raw = *reinterpret_cast<const Raw*>(at);
    } else {
      T values[4];
#pragma unroll
      for (int n = 0; n < 4; ++n) values[n] = n < left ? at[n] : T(0.0f);
      raw = as_raw(values);
    }
  }
  // as two pairs of bf16
  __device__ uint2 pairs() const {
    if constexpr (std::is_same_v<T, float>) {
      return make_uint2(pack_bf16(raw.x, raw.y), pack_bf16(raw.z, raw.w));
    } else {
      return raw;
    }
  }

 private:
  __device__ static float4 as_raw(const float (&v)[4]) {
    return make_float4(v[0], v[1], v[2], v[3]);
  }
  __device__ static uint2 as_raw(const bf16 (&v)[4]) {
    return make_uint2(v[0].bits | static_cast<u32>(v[1].bits) << 16,
                      v[2].bits | static_cast<u32>(v[3].bits) << 16);
  }
};

// 192 x 192: the width of the model, so that the widest gradients (768, 2048) read the narrow
// factor four or eleven times, from L2, and the wide one once. Twelve warps of 64 x 48 each: 96
// sums a thread of its 168 registers, so what is under way while 16 rows are multiplied is 16 rows.
constexpr int kCols = 192;
constexpr int kRows = 32, kHalf = 16;
constexpr int kWarpsDown = 3, kWarpsAcross = 4;
constexpr int kThreads = kWarpsDown * kWarpsAcross * kWarp;
constexpr int kDown = kCols / kWarpsDown / 16, kAcross = kCols / kWarpsAcross / 8;
constexpr int kStride = kCols + 8;  // the eight rows of an ldmatrix lie in different banks
constexpr int kTile = kRows * kStride;
constexpr int kPieces = kHalf * kCols / 4 / kThreads;
static_assert(kHalf * kCols / 4 % kThreads == 0);

// Memory-bound for the model's widths: 2 x 192 x 192 x 32 operations on 2 x 32 x 192 values, at
// 4 bytes each 0.1 us of one multiprocessor's part of memory against 0.4 of the L2 cache's and 0.5
// us of products.
template <typename A, typename B>
__global__ void __launch_bounds__(kThreads)
    columns_mma_kernel(ColumnsOf<A> a, ColumnsOf<B> b, i64 rows_each, float* parts) {
  bf16* tiles = dynamic_shared<bf16>();  // two stages of a and b
  const i64 m = a.rows.size(1), n = b.rows.size(1);
  const Slice slice = slice_of<kCols>(a.rows.size(0), m, n, rows_each, parts);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int down = warp / kWarpsAcross * (16 * kDown), across = warp % kWarpsAcross * (8 * kAcross);
  const bool has_columns = slice.first_a + down < m && slice.first_b + across < n;

  Piece<A> left[kPieces];
  Piece<B> right[kPieces];
  // half a stage: rows kHalf `half` onward of the kRows from `first` on
  const auto load = [&](i64 first, int half) {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const int piece = static_cast<int>(threadIdx.x) + i * kThreads;
      const i64 row = first + half * kHalf + piece / (kCols / 4);
      const int column = piece % (kCols / 4) * 4;
      left[i].load(a, row, slice.end, slice.first_a + column);
      right[i].load(b, row, slice.end, slice.first_b + column);
    }
  };
  const auto store = [&](bf16* to, int half) {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const int piece = static_cast<int>(threadIdx.x) + i * kThreads;
      const int row = half * kHalf + piece / (kCols / 4);
      const int place = row * kStride + piece % (kCols / 4) * 4;
      *reinterpret_cast<uint2*>(to + place) = left[i].pairs();
      *reinterpret_cast<uint2*>(to + kTile + place) = right[i].pairs();
    }
  };
  // 16 rows of a stage into the sums
  const auto multiply_half = [&](const bf16* tile, int half, float(&sums)[kDown][kAcross][4]) {
    if (!has_columns) return;
    u32 x[kDown][4];
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
      const int row = half * kHalf + lane / 16 * 8 + lane % 8;
      const int column = down + 16 * i + lane / 8 % 2 * 8;
      ldmatrix_x4_trans(x[i], tile + row * kStride + column);
    }
#pragma unroll
    for (int j = 0; j < kAcross; j += 2) {
      u32 y[4];
      const int row = half * kHalf + lane % 16, column = across + 8 * j + lane / 16 * 8;
      ldmatrix_x4_trans(y, tile + kTile + row * kStride + column);
      const u32 low[2] = {y[0], y[1]}, high[2] = {y[2], y[3]};
#pragma unroll
      for (int i = 0; i < kDown; ++i) {
        mma_m16n8k16_bf16(sums[i][j], x[i], low);
        mma_m16n8k16_bf16(sums[i][j + 1], x[i], high);
      }
    }
  };

  float sums[kDown][kAcross][4] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    load(slice.begin, half);
    store(tiles, half);
  }
  bf16 *now = tiles, *next = tiles + 2 * kTile;
#pragma unroll 1
  for (i64 first = slice.begin; first < slice.end; first += kRows) {
    __syncthreads();  // this stage is written, and the other one has been read
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      load(first + kRows, half);
      multiply_half(now, half, sums);
      store(next, half);
    }
    bf16* written = next;
    next = now;
    now = written;
  }

#pragma unroll
  for (int i = 0; i < kDown; ++i) {
#pragma unroll
    for (int j = 0; j < kAcross; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const i64 row = slice.first_a + down + 16 * i + lane / 4 + e / 2 * 8;
        const i64 column = slice.first_b + across + 8 * j + lane % 4 * 2 + e % 2;
        if (row < m && column < n) slice.to[row * n + column] = sums[i][j][e];
      }
    }
  }
}

// The same in f32: tiles of 64 x 64, a thread has four rows and four columns of them.
constexpr int kPlainCols = 64, kPlainThreads = 256;
constexpr int kPlainPieces = kRows * kPlainCols / 4 / kPlainThreads;

// Bound by multiply-adds: 16 for two reads of 16 bytes of shared memory.
__global__ void __launch_bounds__(kPlainThreads)
    columns_kernel(ColumnsOf<float> a, ColumnsOf<float> b, i64 rows_each, float* parts) {
  __shared__ float4 tiles[2][2][kRows][kPlainCols / 4];  // two stages of a and b
  const i64 m = a.rows.size(1), n = b.rows.size(1);
  const Slice slice = slice_of<kPlainCols>(a.rows.size(0), m, n, rows_each, parts);
  const int thread = static_cast<int>(threadIdx.x);
  const int down = thread / 16 * 4, across = thread % 16 * 4;

  Piece<float> left[kPlainPieces], right[kPlainPieces];
  const auto load = [&](i64 first) {
#pragma unroll
    for (int i = 0; i < kPlainPieces; ++i) {
      const int piece = thread + i * kPlainThreads;
      const int row = piece / (kPlainCols / 4), column = piece % (kPlainCols / 4) * 4;
      left[i].load(a, first + row, slice.end, slice.first_a + column);
      right[i].load(b, first + row, slice.end, slice.first_b + column);
    }
  };
  const auto store = [&](int stage) {
#pragma unroll
    for (int i = 0; i < kPlainPieces; ++i) {
      const int piece = thread + i * kPlainThreads;
      const int row = piece / (kPlainCols / 4), four = piece % (kPlainCols / 4);
      tiles[stage][0][row][four] = left[i].raw;
      tiles[stage][1][row][four] = right[i].raw;
    }
  };

  float sums[4][4] = {};
  load(slice.begin);
  store(0);
  int stage = 0;
#pragma unroll 1
  for (i64 first = slice.begin; first < slice.end; first += kRows, stage ^= 1) {
    __syncthreads();
    load(first + kRows);
#pragma unroll 8
    for (int k = 0; k < kRows; ++k) {
      const Four x = load_four<true>(&tiles[stage][0][k][down / 4].x, 4);
      const Four y = load_four<true>(&tiles[stage][1][k][across / 4].x, 4);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(x.v[i], y.v[j], sums[i][j]);
      }
    }
    store(stage ^ 1);
  }

#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const i64 row = slice.first_a + down + i, column = slice.first_b + across + j;
      if (row < m && column < n) slice.to[row * n + column] = sums[i][j];
    }
  }
}

constexpr int kAddThreads = 256;

// c = residual + bias + the sum of the slices, in order. Memory-bound: reads the slices once, from
// L2 where they have just been written; one thread an element.
template <typename Out>
__global__ void add_slices_kernel(const float* parts, i64 slices, const float* bias,
                                  View<const float, 2> residual, View<Out, 2> c) {
  const i64 count = c.size(0) * c.size(1);
  const i64 index = static_cast<i64>(blockIdx.x) * kAddThreads + threadIdx.x;
  if (index >= count) return;
  const i64 row = index / c.size(1), column = index - row * c.size(1);
  float sum = 0;
#pragma unroll 8
  for (i64 s = 0; s < slices; ++s) sum += parts[s * count + index];
  if (bias != nullptr) sum += bias[column];
  if (residual.data() != nullptr) {
    sum += residual.data()[row * residual.stride(0) + column];
  }
  c.data()[row * c.stride(0) + column] = Out(sum);
}

// How rows are shared: so many slices that a large device's multiprocessors have a block each, but
// none so small that adding the slices would be most of the work.
constexpr i64 kBlocks = 132, kFewestRows = 256;

template <int kTileCols>
struct Shares {
  i64 tiles, rows_each, slices;
  Shares(i64 rows, i64 m, i64 n)
      : tiles(((m + kTileCols - 1) / kTileCols) * ((n + kTileCols - 1) / kTileCols)) {
    const i64 wanted = tiles < kBlocks ? kBlocks / tiles : 1;
    const i64 each = (rows + wanted - 1) / wanted;
    rows_each = ((each < kFewestRows ? kFewestRows : each) + kRows - 1) / kRows * kRows;
    slices = (rows + rows_each - 1) / rows_each;
  }
  Launch shape(unsigned threads, std::size_t shared_bytes) const {
    return {"gemm: a weight's gradient", dim3(static_cast<unsigned>(tiles * slices)), dim3(threads),
            shared_bytes};
  }
};

template <typename T>
ColumnsOf<T> columns_of(View<const T, 2> rows) {
  // fours of bf16 begin at multiples of 8 bytes
  const bool aligned = reinterpret_cast<std::size_t>(rows.data()) % (4 * sizeof(T)) == 0 &&
                       rows.size(1) % 4 == 0 && rows.stride(0) % 4 == 0;
  return {rows, aligned};
}

float* parts_of(Context& ctx, i64 slices, i64 count) {
  return reinterpret_cast<float*>(ctx.shared_scratch(
      static_cast<std::size_t>(slices * count) * sizeof(float), Context::Slot::matrix));
}

template <typename Out>
void add_slices(Context& ctx, const float* parts, i64 slices, const Epilogue& epilogue,
                View<Out, 2> c) {
  launch(ctx,
         {"gemm: a weight's gradient", dim3(blocks_for(c.numel(), kAddThreads)), dim3(kAddThreads)},
         add_slices_kernel<Out>, parts, slices, epilogue.bias.data(), epilogue.residual, c);
}

}  // namespace

void multiply_columns(Context& ctx, View<const float, 2> a, View<const float, 2> b,
                      const Epilogue& epilogue, View<float, 2> c) {
  const Shares<kPlainCols> shares(a.size(0), c.size(0), c.size(1));
  float* parts = parts_of(ctx, shares.slices, c.numel());
  launch(ctx, shares.shape(kPlainThreads, 0), columns_kernel, columns_of(a), columns_of(b),
         shares.rows_each, parts);
  add_slices(ctx, parts, shares.slices, epilogue, c);
}

template <typename A, typename B, typename Out>
void multiply_columns_bf16(Context& ctx, View<const A, 2> a, View<const B, 2> b,
                           const Epilogue& epilogue, View<Out, 2> c) {
  const Shares<kCols> shares(a.size(0), c.size(0), c.size(1));
  float* parts = parts_of(ctx, shares.slices, c.numel());
  launch(ctx, shares.shape(kThreads, 4 * kTile * sizeof(bf16)), columns_mma_kernel<A, B>,
         columns_of(a), columns_of(b), shares.rows_each, parts);
  add_slices(ctx, parts, shares.slices, epilogue, c);
}

#define ORRERY_COLUMNS(A, B)                                                        \
  template void multiply_columns_bf16(Context&, View<const A, 2>, View<const B, 2>, \
                                      const Epilogue&, View<float, 2>);             \
  template void multiply_columns_bf16(Context&, View<const A, 2>, View<const B, 2>, \
                                      const Epilogue&, View<bf16, 2>)
ORRERY_COLUMNS(float, float);
ORRERY_COLUMNS(float, bf16);
ORRERY_COLUMNS(bf16, float);
ORRERY_COLUMNS(bf16, bf16);
#undef ORRERY_COLUMNS

}  // namespace orrery::cuda
