#include <algorithm>
#include <cstring>

#include "ops/cpu_path.h"
#include "ops/elementwise.h"
#include "ops/pieces.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/elementwise_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace orrery::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;

void Add(const float* a, const float* b, float* y, i64 count) {
  const D d;
  ForVectors(d, count, [&](i64 i, auto part) HWY_ATTR {
    part.store(hn::Add(part.load(d, a + i), part.load(d, b + i)), d, y + i);
  });
}

// rounded twice, as two operations would
void AddScaled(float factor, const float* x, float* y, i64 count) {
  const D d;
  const auto f = hn::Set(d, factor);
  ForVectors(d, count, [&](i64 i, auto part) HWY_ATTR {
    part.store(hn::Add(part.load(d, y + i), hn::Mul(f, part.load(d, x + i))), d, y + i);
  });
}

void Scale(float factor, float* x, i64 count) {
  const D d;
  const auto f = hn::Set(d, factor);
  ForVectors(d, count, [&](i64 i, auto part) HWY_ATTR {
    part.store(hn::Mul(f, part.load(d, x + i)), d, x + i);
  });
}

// sums[c] = sum_r x[r * stride + c]
void ColumnSums(const float* x, i64 stride, i64 rows, i64 cols, float* sums) {
  const D d;
  ForVectors(d, cols, [&](i64 c, auto part) HWY_ATTR {
    // two chains hide the latency of the addition
    auto even = hn::Zero(d);
    auto odd = hn::Zero(d);
    i64 r = 0;
    for (; r + 2 <= rows; r += 2) {
      even = hn::Add(even, part.load(d, x + r * stride + c));
      odd = hn::Add(odd, part.load(d, x + (r + 1) * stride + c));
    }
    if (r < rows) even = hn::Add(even, part.load(d, x + r * stride + c));
    part.store(hn::Add(even, odd), d, sums + c);
  });
}

double SumOfSquares(const float* x, i64 count) {
  // f32 values widened: their squares are exact in double
  const hn::ScalableTag<double> dd;
  const hn::Rebind<float, decltype(dd)> df;
  const i64 lanes = static_cast<i64>(hn::Lanes(dd));
  auto even = hn::Zero(dd);
  auto odd = hn::Zero(dd);
  i64 i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    const auto a = hn::PromoteTo(dd, hn::LoadU(df, x + i));
    const auto b = hn::PromoteTo(dd, hn::LoadU(df, x + i + lanes));
    even = hn::MulAdd(a, a, even);
    odd = hn::MulAdd(b, b, odd);
  }
  double sum = hn::GetLane(hn::SumOfLanes(dd, hn::Add(even, odd)));
  for (; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

float SquaredDistance(const float* a, const float* b, i64 count) {
  const D d;
  auto sum = hn::Zero(d);
  ForVectors(d, count, [&](i64 i, auto part) HWY_ATTR {
    const auto difference = hn::Sub(part.load(d, a + i), part.load(d, b + i));
    sum = hn::MulAdd(difference, difference, sum);
  });
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace orrery::cpu {

HWY_EXPORT(Add);
HWY_EXPORT(AddScaled);
HWY_EXPORT(Scale);
HWY_EXPORT(ColumnSums);
HWY_EXPORT(SumOfSquares);
HWY_EXPORT(SquaredDistance);

void add(Context& ctx, View<const float, 1> a, View<const float, 1> b, View<float, 1> y) {
  const auto kernel = ORRERY_KERNEL(Add);
  ctx.parallel_ranges(y.size(0), kValuesPerPiece, [&](i64 begin, i64 end, int) {
    kernel(a.data() + begin, b.data() + begin, y.data() + begin, end - begin);
  });
}

void add_scaled(Context& ctx, float factor, View<const float, 1> x, View<float, 1> y) {
  const auto kernel = ORRERY_KERNEL(AddScaled);
  ctx.parallel_ranges(y.size(0), kValuesPerPiece, [&](i64 begin, i64 end, int) {
    kernel(factor, x.data() + begin, y.data() + begin, end - begin);
  });
}

void scale(Context& ctx, float factor, View<float, 1> x) {
  const auto kernel = ORRERY_KERNEL(Scale);
  ctx.parallel_ranges(x.size(0), kValuesPerPiece, [&](i64 begin, i64 end, int) {
    kernel(factor, x.data() + begin, end - begin);
  });
}

void add_column_sums(Context& ctx, View<const float, 2> x, View<float, 1> sums) {
  const auto kernel = ORRERY_KERNEL(ColumnSums);
  const auto add_kernel = ORRERY_KERNEL(Add);
  const i64 cols = x.size(1);
  const i64 pieces = piece_count(x.size(0));

  // one row of partial sums per piece, then added in order
  auto* partial = reinterpret_cast<float*>(
      ctx.shared_scratch(static_cast<std::size_t>(pieces * cols) * sizeof(float)));
  ctx.parallel_ranges(x.size(0), rows_per_piece(x.size(0)), [&](i64 begin, i64 end, int) {
    float* out = partial + begin / rows_per_piece(x.size(0)) * cols;
    kernel(x.data() + begin * x.stride(0), x.stride(0), end - begin, cols, out);
  });
  for (i64 piece = 0; piece < pieces; ++piece)
    add_kernel(sums.data(), partial + piece * cols, sums.data(), cols);
}

double sum_of_squares(Context& ctx, View<const float, 1> x) {
  const auto kernel = ORRERY_KERNEL(SumOfSquares);
  const i64 pieces = (x.size(0) + kValuesPerPiece - 1) / kValuesPerPiece;
  auto* partial = reinterpret_cast<double*>(
      ctx.shared_scratch(static_cast<std::size_t>(pieces) * sizeof(double)));
  ctx.parallel_ranges(x.size(0), kValuesPerPiece, [&](i64 begin, i64 end, int) {
    partial[begin / kValuesPerPiece] = kernel(x.data() + begin, end - begin);
  });
  double sum = 0;
  for (i64 piece = 0; piece < pieces; ++piece) sum += partial[piece];
  return sum;
}

void squared_distances(Context& ctx, View<const float, 3> a, View<const float, 3> b, float factor,
                       View<float, 2> out) {
  const auto kernel = ORRERY_KERNEL(SquaredDistance);
  const i64 grain = std::max<i64>(1, kValuesPerPiece / std::max<i64>(1, a.size(2)));
  const auto row_of = [](View<const float, 3> view, i64 r) {
    return view.data() + r / view.size(1) * view.stride(0) + r % view.size(1) * view.stride(1);
  };
  ctx.parallel_ranges(out.numel(), grain, [&](i64 begin, i64 end, int) {
    for (i64 r = begin; r < end; ++r) {
      out.data()[r] = factor * kernel(row_of(a, r), row_of(b, r), a.size(2));
    }
  });
}

}  // namespace orrery::cpu
#endif  // HWY_ONCE
