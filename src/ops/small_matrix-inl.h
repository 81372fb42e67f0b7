// Products of matrices small enough for one thread's caches, as attention has one per (batch, head)
// pair. Included once per instruction set, like math-inl.h.

// a guard per instruction set: the file is seen once for every target
#if defined(ORRERY_OPS_SMALL_MATRIX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ORRERY_OPS_SMALL_MATRIX_INL_H_
#undef ORRERY_OPS_SMALL_MATRIX_INL_H_
#else
#define ORRERY_OPS_SMALL_MATRIX_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include <hwy/highway.h>

#include "base/types.h"
#include "tensor/view.h"

HWY_BEFORE_NAMESPACE();
namespace orrery::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE i64 RoundUp(i64 value, i64 unit) { return (value + unit - 1) / unit * unit; }

// The left matrix: element (i, k) is data[i * row + k * step]. row 1 reads it transposed.
struct Left {
  const float* data;
  i64 row;
  i64 step;
};

// c[i, 0 .. Vectors) = sum_k a[i, k] * b[k, ...] (+ c), i < Rows; b and c are in steps of their
// strides, vectors aligned. 6 x 4 vectors: 24 accumulators + 4 of b + 1 broadcast = 29 of AVX-512's
// 32 registers; 6 x 2 + 3 = 15 of 16 elsewhere.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
inline constexpr int kSmallVectors = 4;
#else
inline constexpr int kSmallVectors = 2;
#endif
inline constexpr int kSmallRows = 6;

template <int Rows, int Vectors>
HWY_INLINE void MultiplySmallTile(Left a, const float* HWY_RESTRICT b, i64 b_stride, i64 inputs,
                                  bool accumulate, float* HWY_RESTRICT c, i64 c_stride) {
  const hn::ScalableTag<float> d;
  const i64 lanes = static_cast<i64>(hn::Lanes(d));
  hn::Vec<decltype(d)> sums[Rows][Vectors];
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < Vectors; ++j)
      sums[i][j] = accumulate ? hn::Load(d, c + i * c_stride + j * lanes) : hn::Zero(d);
  }
  for (i64 k = 0; k < inputs; ++k) {
    hn::Vec<decltype(d)> row[Vectors];
    for (int j = 0; j < Vectors; ++j) row[j] = hn::Load(d, b + k * b_stride + j * lanes);
    for (int i = 0; i < Rows; ++i) {
      const auto factor = hn::Set(d, a.data[i * a.row + k * a.step]);
      for (int j = 0; j < Vectors; ++j) sums[i][j] = hn::MulAdd(factor, row[j], sums[i][j]);
    }
  }
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < Vectors; ++j) hn::Store(sums[i][j], d, c + i * c_stride + j * lanes);
  }
}

// all rows of one column of tiles: b's part stays in L1 while the rows pass
template <int Vectors>
HWY_INLINE void MultiplySmallColumn(Left a, const float* b, i64 b_stride, i64 rows, i64 inputs,
                                    bool accumulate, float* c, i64 c_stride) {
  i64 i = 0;
  for (; i + kSmallRows <= rows; i += kSmallRows) {
    MultiplySmallTile<kSmallRows, Vectors>({a.data + i * a.row, a.row, a.step}, b, b_stride, inputs,
                                           accumulate, c + i * c_stride, c_stride);
  }
  const Left rest = {a.data + i * a.row, a.row, a.step};
  float* to = c + i * c_stride;
  switch (rows - i) {
    case 5:
      return MultiplySmallTile<5, Vectors>(rest, b, b_stride, inputs, accumulate, to, c_stride);
    case 4:
      return MultiplySmallTile<4, Vectors>(rest, b, b_stride, inputs, accumulate, to, c_stride);
    case 3:
      return MultiplySmallTile<3, Vectors>(rest, b, b_stride, inputs, accumulate, to, c_stride);
    case 2:
      return MultiplySmallTile<2, Vectors>(rest, b, b_stride, inputs, accumulate, to, c_stride);
    case 1:
      return MultiplySmallTile<1, Vectors>(rest, b, b_stride, inputs, accumulate, to, c_stride);
    default:
      return;
  }
}

// c [rows, cols] = a [rows, inputs] b [inputs, cols] (+ c); b and c contiguous and aligned, cols
// whole vectors
HWY_INLINE void MultiplySmall(Left a, const float* b, i64 rows, i64 cols, i64 inputs,
                              bool accumulate, float* c) {
  const i64 lanes = static_cast<i64>(hn::Lanes(hn::ScalableTag<float>()));
  for (i64 j = 0; j < cols;) {
    // five vectors go as 3 + 2: a tile of one vector does not hide the latency of its additions as
    // well
    const i64 left = (cols - j) / lanes;
    const i64 width =
        left == kSmallVectors + 1 ? (left + 1) / 2 : std::min<i64>(left, kSmallVectors);
    switch (width) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
      case 4:
        MultiplySmallColumn<4>(a, b + j, cols, rows, inputs, accumulate, c + j, cols);
        break;
      case 3:
        MultiplySmallColumn<3>(a, b + j, cols, rows, inputs, accumulate, c + j, cols);
        break;
#endif
      case 2:
        MultiplySmallColumn<2>(a, b + j, cols, rows, inputs, accumulate, c + j, cols);
        break;
      default:
        MultiplySmallColumn<1>(a, b + j, cols, rows, inputs, accumulate, c + j, cols);
        break;
    }
    j += width * lanes;
  }
}

// rows of `padded` values, zero beyond the matrix
HWY_INLINE void CopyPadded(View<const float, 2> from, i64 padded, float* HWY_RESTRICT to) {
  const i64 cols = from.size(1);
  for (i64 r = 0; r < from.size(0); ++r) {
    std::memcpy(to + r * padded, from.data() + r * from.stride(0),
                static_cast<std::size_t>(cols) * sizeof(float));
    std::fill(to + r * padded + cols, to + (r + 1) * padded, 0.0f);
  }
}

// to[c * padded + r] = from[r, c], zero for r beyond the matrix
HWY_INLINE void CopyTransposed(View<const float, 2> from, i64 padded, float* HWY_RESTRICT to) {
  const i64 rows = from.size(0), cols = from.size(1), stride = from.stride(0);
  i64 r = 0;
#if HWY_TARGET != HWY_SCALAR
  // blocks of 4 x 4
  const hn::FixedTag<float, 4> d4;
  const hn::FixedTag<double, 2> d2;
  for (; r + 4 <= rows; r += 4) {
    const float* row = from.data() + r * stride;
    i64 c = 0;
    for (; c + 4 <= cols; c += 4) {
      const auto r0 = hn::LoadU(d4, row + c);
      const auto r1 = hn::LoadU(d4, row + stride + c);
      const auto r2 = hn::LoadU(d4, row + 2 * stride + c);
      const auto r3 = hn::LoadU(d4, row + 3 * stride + c);
      const auto low01 = hn::BitCast(d2, hn::InterleaveLower(d4, r0, r1));
      const auto low23 = hn::BitCast(d2, hn::InterleaveLower(d4, r2, r3));
      const auto high01 = hn::BitCast(d2, hn::InterleaveUpper(d4, r0, r1));
      const auto high23 = hn::BitCast(d2, hn::InterleaveUpper(d4, r2, r3));
      float* block = to + c * padded + r;
      hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, low01, low23)), d4, block);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, low01, low23)), d4, block + padded);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, high01, high23)), d4, block + 2 * padded);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, high01, high23)), d4, block + 3 * padded);
    }
    for (; c < cols; ++c) {
      for (i64 i = 0; i < 4; ++i) to[c * padded + r + i] = row[i * stride + c];
    }
  }
#endif
  for (; r < rows; ++r) {
    for (i64 c = 0; c < cols; ++c) to[c * padded + r] = from.data()[r * stride + c];
  }
  for (i64 c = 0; c < cols; ++c) std::fill(to + c * padded + rows, to + (c + 1) * padded, 0.0f);
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::cpu
HWY_AFTER_NAMESPACE();

#endif  // a guard per instruction set
