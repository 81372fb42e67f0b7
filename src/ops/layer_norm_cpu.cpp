#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/cpu_path.h"
#include "ops/layer_norm.h"
#include "ops/pieces.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/layer_norm_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace orrery::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;

// one row; gain and bias may both be null. Three passes over a row that stays in L1.
template <typename T>
HWY_INLINE void NormOneRow(const float* x, const float* gain, const float* bias, float eps, i64 dim,
                           T* y, float* mean, float* rstd) {
  const D d;
  const float share = 1.0f / static_cast<float>(dim);
  auto sum = hn::Zero(d);
  ForVectors(d, dim, [&](i64 i, auto part) HWY_ATTR { sum = hn::Add(sum, part.load(d, x + i)); });
  const float mu = hn::GetLane(hn::SumOfLanes(d, sum)) * share;

  // zero lanes beyond the row must not count: they are -mu away from the mean
  const auto center = hn::Set(d, mu);
  const i64 lanes = static_cast<i64>(hn::Lanes(d));
  auto squares = hn::Zero(d);
  i64 i = 0;
  for (; i + lanes <= dim; i += lanes) {
    const auto deviation = hn::Sub(hn::LoadU(d, x + i), center);
    squares = hn::MulAdd(deviation, deviation, squares);
  }
  if (i < dim) {
    const Part part{static_cast<std::size_t>(dim - i)};
    const auto inside = hn::FirstN(d, part.count);
    const auto deviation = hn::IfThenElseZero(inside, hn::Sub(part.load(d, x + i), center));
    squares = hn::MulAdd(deviation, deviation, squares);
  }
  const float scale = 1.0f / std::sqrt(hn::GetLane(hn::SumOfLanes(d, squares)) * share + eps);

  const auto factor = hn::Set(d, scale);
  if (gain != nullptr) {
    ForVectors(d, dim, [&](i64 k, auto part) HWY_ATTR {
      const auto n = hn::Mul(hn::Sub(part.load(d, x + k), center), factor);
      part.store(hn::MulAdd(n, part.load(d, gain + k), part.load(d, bias + k)), d, y + k);
    });
  } else {
    ForVectors(d, dim, [&](i64 k, auto part) HWY_ATTR {
      part.store(hn::Mul(hn::Sub(part.load(d, x + k), center), factor), d, y + k);
    });
  }
  if (mean != nullptr) *mean = mu;
  if (rstd != nullptr) *rstd = scale;
}

void NormRow(const float* x, const float* gain, const float* bias, float eps, i64 dim, float* y,
             float* mean, float* rstd) {
  NormOneRow(x, gain, bias, eps, dim, y, mean, rstd);
}
void NormRowToHalves(const float* x, const float* gain, const float* bias, float eps, i64 dim,
                     bf16* y, float* mean, float* rstd) {
  NormOneRow(x, gain, bias, eps, dim, y, mean, rstd);
}

// Rows [begin, end); dgain and dbias are partial sums of this piece, zeroed here, or null.
void NormBackwardRows(View<const float, 2> x, const float* gain, const float* mean,
                      const float* rstd, View<const float, 2> dy, bool accumulate_dx,
                      View<float, 2> dx, i64 begin, i64 end, float* dgain, float* dbias) {
  const D d;
  const i64 dim = x.size(1);
  const float share = 1.0f / static_cast<float>(dim);
  if (dgain != nullptr) std::fill_n(dgain, dim, 0.0f);
  if (dbias != nullptr) std::fill_n(dbias, dim, 0.0f);
  for (i64 r = begin; r < end; ++r) {
    const float* x_row = x.data() + r * x.stride(0);
    const float* dy_row = dy.data() + r * dy.stride(0);
    float* dx_row = dx.data() + r * dx.stride(0);
    const auto center = hn::Set(d, mean[r]);
    const auto scale = hn::Set(d, rstd[r]);

    // lanes beyond the row have dy = 0 and add nothing
    auto sum_g = hn::Zero(d);
    auto sum_gn = hn::Zero(d);
    ForVectors(d, dim, [&](i64 i, auto part) HWY_ATTR {
      const auto n = hn::Mul(hn::Sub(part.load(d, x_row + i), center), scale);
      const auto slope = part.load(d, dy_row + i);
      const auto g = gain != nullptr ? hn::Mul(slope, part.load(d, gain + i)) : slope;
      sum_g = hn::Add(sum_g, g);
      sum_gn = hn::MulAdd(g, n, sum_gn);
      if (dgain != nullptr) part.store(hn::MulAdd(slope, n, part.load(d, dgain + i)), d, dgain + i);
      if (dbias != nullptr) part.store(hn::Add(slope, part.load(d, dbias + i)), d, dbias + i);
    });
    const auto mean_g = hn::Set(d, hn::GetLane(hn::SumOfLanes(d, sum_g)) * share);
    const auto mean_gn = hn::Set(d, hn::GetLane(hn::SumOfLanes(d, sum_gn)) * share);

    ForVectors(d, dim, [&](i64 i, auto part) HWY_ATTR {
      const auto n = hn::Mul(hn::Sub(part.load(d, x_row + i), center), scale);
      const auto slope = part.load(d, dy_row + i);
      const auto g = gain != nullptr ? hn::Mul(slope, part.load(d, gain + i)) : slope;
      auto value = hn::Mul(scale, hn::NegMulAdd(n, mean_gn, hn::Sub(g, mean_g)));
      if (accumulate_dx) value = hn::Add(value, part.load(d, dx_row + i));
      part.store(value, d, dx_row + i);
    });
  }
}

void AddTo(const float* from, float* to, i64 count) {
  const D d;
  ForVectors(d, count, [&](i64 i, auto part) HWY_ATTR {
    part.store(hn::Add(part.load(d, to + i), part.load(d, from + i)), d, to + i);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace orrery::cpu {

HWY_EXPORT(NormRow);
HWY_EXPORT(NormRowToHalves);
HWY_EXPORT(NormBackwardRows);
HWY_EXPORT(AddTo);

namespace {

template <typename Kernel, typename T>
void norm_rows(Context& ctx, Kernel kernel, View<const float, 2> x, View<const float, 1> gain,
               View<const float, 1> bias, float eps, View<T, 2> y, View<float, 1> mean,
               View<float, 1> rstd) {
  const i64 dim = x.size(1);
  const i64 rows = std::max<i64>(1, kValuesPerPiece / std::max<i64>(1, dim));
  ctx.parallel_ranges(x.size(0), rows, [&](i64 begin, i64 end, int) {
    for (i64 r = begin; r < end; ++r) {
      kernel(x.data() + r * x.stride(0), gain.data(), bias.data(), eps, dim,
             y.data() + r * y.stride(0), mean ? mean.data() + r : nullptr,
             rstd ? rstd.data() + r : nullptr);
    }
  });
}

}  // namespace

void layer_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, View<float, 2> y, View<float, 1> mean,
                View<float, 1> rstd) {
  norm_rows(ctx, ORRERY_KERNEL(NormRow), x, gain, bias, eps, y, mean, rstd);
}

void layer_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, View<bf16, 2> y, View<float, 1> mean,
                View<float, 1> rstd) {
  norm_rows(ctx, ORRERY_KERNEL(NormRowToHalves), x, gain, bias, eps, y, mean, rstd);
}

void layer_norm_backward(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                         View<const float, 1> mean, View<const float, 1> rstd,
                         View<const float, 2> dy, bool accumulate_dx, View<float, 2> dx,
                         View<float, 1> dgain, View<float, 1> dbias) {
  const auto kernel = ORRERY_KERNEL(NormBackwardRows);
  const auto add_kernel = ORRERY_KERNEL(AddTo);
  const i64 dim = x.size(1);
  const i64 grain = rows_per_piece(x.size(0));
  const i64 pieces = piece_count(x.size(0));

  // [pieces, 2, dim] partial sums of dgain and dbias
  float* partial = nullptr;
  if (dgain || dbias) {
    partial = reinterpret_cast<float*>(
        ctx.shared_scratch(static_cast<std::size_t>(pieces * 2 * dim) * sizeof(float)));
  }
  ctx.parallel_ranges(x.size(0), grain, [&](i64 begin, i64 end, int) {
    float* own = partial + begin / grain * 2 * dim;
    kernel(x, gain.data(), mean.data(), rstd.data(), dy, accumulate_dx, dx, begin, end,
           dgain ? own : nullptr, dbias ? own + dim : nullptr);
  });
  for (i64 piece = 0; piece < pieces; ++piece) {
    if (dgain) add_kernel(partial + piece * 2 * dim, dgain.data(), dim);
    if (dbias) add_kernel(partial + piece * 2 * dim + dim, dbias.data(), dim);
  }
}

}  // namespace orrery::cpu
#endif  // HWY_ONCE
