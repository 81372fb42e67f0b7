// Products that sum over the rows of both factors: gradients of weights. Rows are many (tokens of a
// batch) and columns few (a model's widths), so blocks share the rows in slices, each writes what
// its slice adds, and a second kernel adds the slices in order.
//
// Tiles lie in shared memory as they lie in memory, a row after the other: the transposed form of
// ldmatrix turns both factors on their way to the tensor cores, and plain multiply-adds want four
// neighbouring columns anyway. Nothing is turned in memory.

#include "ops/gemm_columns_device.h"

#include "device/ptx.h"
#include "ops/column_parts_device.h"

namespace orrery::cuda {

namespace {

// a factor whose rows are summed over
template <typename T>
struct ColumnsOf {
  View<const T, 2> rows;
  bool aligned;  // in fours
};

// Where slices go: [slices, m, n], and what columns of a add up to, [slices, m], or null.
struct Parts {
  float* products;
  float* sums;
};

// what one block makes: columns [first_a, ..) x [first_b, ..) over rows [begin, end)
struct Slice {
  i64 index, first_a, first_b, begin, end;
};

// Neighbouring blocks share a slice, so that one's rows are the other's in the L2 cache.
template <int kCols>
__device__ inline Slice slice_of(i64 rows, i64 m, i64 n, i64 rows_each) {
  const i64 across = (n + kCols - 1) / kCols, tiles = (m + kCols - 1) / kCols * across;
  const i64 slice = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  const i64 begin = slice * rows_each;
  return {slice, tile / across * kCols, tile % across * kCols, begin,
          begin + rows_each < rows ? begin + rows_each : rows};
}

// A thread's way down a factor: four neighbouring columns of every kStep-th row, and what they add
// up to.
template <typename T, int kStep>
class Way {
 public:
  using Raw = std::conditional_t<std::is_same_v<T, float>, float4, uint2>;

  __device__ Way(const ColumnsOf<T>& from, const Slice& slice, i64 first_column, int row,
                 int column)
      : at_(from.rows.data() + (slice.begin + row) * from.rows.stride(0) + first_column + column),
        step_(kStep * from.rows.stride(0)),
        rows_(static_cast<int>(slice.end - slice.begin) - row) {
    const i64 left = from.rows.size(1) - first_column - column;
    columns_ = left < 0 ? 0 : left < 4 ? static_cast<int>(left) : 4;
    whole_ = from.aligned && columns_ > 0;
  }

  // the next row's, zeros outside of the slice
  __device__ Raw next() {
    Raw raw = {};
    if (rows_ > 0 && whole_) {
      raw = *reinterpret_cast<const Raw*>(at_);
    } else if (rows_ > 0 && columns_ > 0) {
      T values[4];
#pragma unroll
      for (int n = 0; n < 4; ++n) values[n] = n < columns_ ? at_[n] : T(0.0f);
      raw = as_raw(values);
    }
    rows_ -= kStep;
    at_ += step_;
    return raw;
  }
  __device__ void add(const Raw& raw) {
    if constexpr (std::is_same_v<T, float>) {
      sum_ = {{sum_.v[0] + raw.x, sum_.v[1] + raw.y, sum_.v[2] + raw.z, sum_.v[3] + raw.w}};
    } else {
      sum_ = {{sum_.v[0] + bf16_low(raw.x), sum_.v[1] + bf16_high(raw.x),
               sum_.v[2] + bf16_low(raw.y), sum_.v[3] + bf16_high(raw.y)}};
    }
  }
  __device__ const Four& sum() const { return sum_; }

  // as two pairs of bf16
  __device__ static uint2 pairs(const Raw& raw) {
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

  const T* at_;
  i64 step_;
  int rows_, columns_;  // that are left; at most four columns
  bool whole_;          // whether four columns lie there as one value
  Four sum_ = {};
};

// The block's sums of the columns of a: kGroups threads have the same four columns, and are added
// in order. `shared` has room for kGroups x kCols floats. Blocks of the first columns of b do it.
template <int kGroups, int kCols>
__device__ inline void put_sums(const Four& sum, const Slice& slice, i64 m, float* shared,
                                const Parts& parts) {
  if (parts.sums == nullptr || slice.first_b != 0) return;
  __syncthreads();  // the tiles have been read
  const int thread = static_cast<int>(threadIdx.x);
  store_four<true>(sum, shared + 4 * thread, 4);
  __syncthreads();
  if (thread >= kCols || slice.first_a + thread >= m) return;
  float all = 0;
#pragma unroll
  for (int g = 0; g < kGroups; ++g) all += shared[g * kCols + thread];
  parts.sums[slice.index * m + slice.first_a + thread] = all;
}

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
constexpr int kRowStep = kThreads / (kCols / 4);  // rows that the threads read at a time
constexpr int kPieces = kHalf / kRowStep;
static_assert(kThreads % (kCols / 4) == 0 && kHalf % kRowStep == 0);

// Memory-bound for the model's widths: 2 x 192 x 192 x 32 operations on 2 x 32 x 192 values, at
// 4 bytes each 0.1 us of one multiprocessor's part of memory against 0.4 of the L2 cache's and 0.5
// us of products.
template <typename A, typename B>
__global__ void __launch_bounds__(kThreads)
    columns_mma_kernel(ColumnsOf<A> a, ColumnsOf<B> b, i64 rows_each, Parts parts) {
  bf16* tiles = dynamic_shared<bf16>();  // two stages of a and b
  const i64 m = a.rows.size(1), n = b.rows.size(1);
  const Slice slice = slice_of<kCols>(a.rows.size(0), m, n, rows_each);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int down = warp / kWarpsAcross * (16 * kDown), across = warp % kWarpsAcross * (8 * kAcross);
  const bool has_columns = slice.first_a + down < m && slice.first_b + across < n;

  const int own_row = static_cast<int>(threadIdx.x) / (kCols / 4);
  const int own_column = static_cast<int>(threadIdx.x) % (kCols / 4) * 4;
  using Left = Way<A, kRowStep>;
  using Right = Way<B, kRowStep>;
  Left left(a, slice, slice.first_a, own_row, own_column);
  Right right(b, slice, slice.first_b, own_row, own_column);
  typename Left::Raw from_a[kPieces];
  typename Right::Raw from_b[kPieces];
  // half a stage
  const auto load = [&] {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      from_a[i] = left.next();
      from_b[i] = right.next();
    }
  };
  const auto store = [&](bf16* to, int half) {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const int place = (half * kHalf + own_row + i * kRowStep) * kStride + own_column;
      left.add(from_a[i]);
      *reinterpret_cast<uint2*>(to + place) = Left::pairs(from_a[i]);
      *reinterpret_cast<uint2*>(to + kTile + place) = Right::pairs(from_b[i]);
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
    load();
    store(tiles, half);
  }
  bf16 *now = tiles, *next = tiles + 2 * kTile;
#pragma unroll 1
  for (i64 first = slice.begin; first < slice.end; first += kRows) {
    __syncthreads();  // this stage is written, and the other one has been read
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      load();
      multiply_half(now, half, sums);
      store(next, half);
    }
    bf16* written = next;
    next = now;
    now = written;
  }

  float* to = parts.products + slice.index * m * n;
#pragma unroll
  for (int i = 0; i < kDown; ++i) {
#pragma unroll
    for (int j = 0; j < kAcross; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const i64 row = slice.first_a + down + 16 * i + lane / 4 + e / 2 * 8;
        const i64 column = slice.first_b + across + 8 * j + lane % 4 * 2 + e % 2;
        if (row < m && column < n) to[row * n + column] = sums[i][j][e];
      }
    }
  }
  put_sums<kRowStep, kCols>(left.sum(), slice, m, dynamic_shared<float>(), parts);
}

// The same in f32: tiles of 64 x 64, a thread has four rows and four columns of them.
constexpr int kPlainCols = 64, kPlainThreads = 256;
constexpr int kPlainStep = kPlainThreads / (kPlainCols / 4);
constexpr int kPlainPieces = kRows / kPlainStep;

// Bound by multiply-adds: 16 for two reads of 16 bytes of shared memory.
__global__ void __launch_bounds__(kPlainThreads)
    columns_kernel(ColumnsOf<float> a, ColumnsOf<float> b, i64 rows_each, Parts parts) {
  __shared__ float4 tiles[2][2][kRows][kPlainCols / 4];  // two stages of a and b
  const i64 m = a.rows.size(1), n = b.rows.size(1);
  const Slice slice = slice_of<kPlainCols>(a.rows.size(0), m, n, rows_each);
  const int own_row = static_cast<int>(threadIdx.x) / (kPlainCols / 4);
  const int own_four = static_cast<int>(threadIdx.x) % (kPlainCols / 4);
  const int down = own_row * 4, across = own_four * 4;  // of the tile of results

  using Factor = Way<float, kPlainStep>;
  Factor left(a, slice, slice.first_a, own_row, 4 * own_four);
  Factor right(b, slice, slice.first_b, own_row, 4 * own_four);
  float4 from_a[kPlainPieces], from_b[kPlainPieces];
  const auto load = [&] {
#pragma unroll
    for (int i = 0; i < kPlainPieces; ++i) {
      from_a[i] = left.next();
      from_b[i] = right.next();
    }
  };
  const auto store = [&](int stage) {
#pragma unroll
    for (int i = 0; i < kPlainPieces; ++i) {
      left.add(from_a[i]);
      tiles[stage][0][own_row + i * kPlainStep][own_four] = from_a[i];
      tiles[stage][1][own_row + i * kPlainStep][own_four] = from_b[i];
    }
  };

  float sums[4][4] = {};
  load();
  store(0);
  int stage = 0;
#pragma unroll 1
  for (i64 first = slice.begin; first < slice.end; first += kRows, stage ^= 1) {
    __syncthreads();
    load();
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

  float* to = parts.products + slice.index * m * n;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const i64 row = slice.first_a + down + i, column = slice.first_b + across + j;
      if (row < m && column < n) to[row * n + column] = sums[i][j];
    }
  }
  put_sums<kPlainStep, kPlainCols>(left.sum(), slice, m, &tiles[0][0][0][0].x, parts);
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

// in the context's scratch
Parts parts_of(Context& ctx, i64 slices, i64 products, i64 sums) {
  auto* memory = reinterpret_cast<float*>(ctx.shared_scratch(
      static_cast<std::size_t>(slices * (products + sums)) * sizeof(float), Context::Slot::matrix));
  return {memory, sums > 0 ? memory + slices * products : nullptr};
}

template <typename Out>
void add_slices(Context& ctx, const Parts& parts, i64 slices, const Epilogue& epilogue,
                View<float, 1> sums, View<Out, 2> c) {
  constexpr const char* kName = "gemm: a weight's gradient";
  launch(ctx, {kName, dim3(blocks_for(c.numel(), kAddThreads)), dim3(kAddThreads)},
         add_slices_kernel<Out>, parts.products, slices, epilogue.bias.data(), epilogue.residual,
         c);
  const i64 count = sums.size(0);
  if (sums) add_parts(ctx, kName, parts.sums, slices, count, count, sums.data());
}

}  // namespace

void multiply_columns(Context& ctx, View<const float, 2> a, View<const float, 2> b,
                      const Epilogue& epilogue, View<float, 2> c, View<float, 1> sums) {
  const Shares<kPlainCols> shares(a.size(0), c.size(0), c.size(1));
  const Parts parts = parts_of(ctx, shares.slices, c.numel(), sums.size(0));
  launch(ctx, shares.shape(kPlainThreads, 0), columns_kernel, columns_of(a), columns_of(b),
         shares.rows_each, parts);
  add_slices(ctx, parts, shares.slices, epilogue, sums, c);
}

template <typename A, typename B, typename Out>
void multiply_columns_bf16(Context& ctx, View<const A, 2> a, View<const B, 2> b,
                           const Epilogue& epilogue, View<Out, 2> c, View<float, 1> sums) {
  const Shares<kCols> shares(a.size(0), c.size(0), c.size(1));
  const Parts parts = parts_of(ctx, shares.slices, c.numel(), sums.size(0));
  launch(ctx, shares.shape(kThreads, 4 * kTile * sizeof(bf16)), columns_mma_kernel<A, B>,
         columns_of(a), columns_of(b), shares.rows_each, parts);
  add_slices(ctx, parts, shares.slices, epilogue, sums, c);
}

#define ORRERY_COLUMNS(A, B)                                                            \
  template void multiply_columns_bf16(Context&, View<const A, 2>, View<const B, 2>,     \
                                      const Epilogue&, View<float, 2>, View<float, 1>); \
  template void multiply_columns_bf16(Context&, View<const A, 2>, View<const B, 2>,     \
                                      const Epilogue&, View<bf16, 2>, View<float, 1>)
ORRERY_COLUMNS(float, float);
ORRERY_COLUMNS(float, bf16);
ORRERY_COLUMNS(bf16, float);
ORRERY_COLUMNS(bf16, bf16);
#undef ORRERY_COLUMNS

}  // namespace orrery::cuda
