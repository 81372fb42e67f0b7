#include <algorithm>
#include <cstring>

#include "ops/batch_norm.h"
#include "ops/cpu_path.h"
#include "ops/pieces.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/batch_norm_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace orrery::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;

// rows whose sum is taken in one chain; chains are then added, so that the rounding grows with 64 +
// rows / 64, not rows
constexpr i64 kChainRows = 64;

// sum over rows of term(r), a vector
template <class Term>
HWY_INLINE hn::Vec<D> SumOverRows(i64 rows, const Term& term) {
  auto total = hn::Zero(D());
  for (i64 begin = 0; begin < rows; begin += kChainRows) {
    auto chain = hn::Zero(D());
    for (i64 r = begin; r < std::min(rows, begin + kChainRows); ++r)
      chain = hn::Add(chain, term(r));
    total = hn::Add(total, chain);
  }
  return total;
}

// Columns [begin, end) of everything, one vector of columns at a time: 512 rows of one cache line
// each stay in L1 for the three passes.
void NormColumns(View<const float, 2> x, const float* gain, const float* bias, float eps,
                 float momentum, float* running_mean, float* running_var, View<float, 2> y,
                 float* mean, float* rstd, i64 begin, i64 end) {
  const D d;
  const i64 rows = x.size(0);
  const i64 stride = x.stride(0);
  const auto one = hn::Set(d, 1.0f);
  const auto share = hn::Set(d, 1.0f / static_cast<float>(rows));
  const auto fresh = hn::Set(d, momentum);
  const auto kept = hn::Set(d, 1.0f - momentum);
  const auto unbiased = hn::Set(d, momentum / static_cast<float>(rows - 1));
  ForVectors(d, end - begin, [&](i64 i, auto part) HWY_ATTR {
    const i64 c = begin + i;
    const float* column = x.data() + c;
    const auto mu = hn::Mul(
        SumOverRows(rows, [&](i64 r) HWY_ATTR { return part.load(d, column + r * stride); }),
        share);
    const auto squares = SumOverRows(rows, [&](i64 r) HWY_ATTR {
      const auto deviation = hn::Sub(part.load(d, column + r * stride), mu);
      return hn::Mul(deviation, deviation);
    });
    const auto scale = hn::Div(one, hn::Sqrt(hn::Add(hn::Mul(squares, share), hn::Set(d, eps))));
    const auto factor = hn::Mul(scale, part.load(d, gain + c));
    const auto offset = part.load(d, bias + c);
    for (i64 r = 0; r < rows; ++r) {
      const auto deviation = hn::Sub(part.load(d, column + r * stride), mu);
      part.store(hn::MulAdd(deviation, factor, offset), d, y.data() + c + r * stride);
    }
    part.store(hn::MulAdd(kept, part.load(d, running_mean + c), hn::Mul(fresh, mu)), d,
               running_mean + c);
    part.store(hn::MulAdd(kept, part.load(d, running_var + c), hn::Mul(unbiased, squares)), d,
               running_var + c);
    part.store(mu, d, mean + c);
    part.store(scale, d, rstd + c);
  });
}

void NormBackwardColumns(View<const float, 2> x, const float* gain, const float* mean,
                         const float* rstd, View<const float, 2> dy, View<float, 2> dx,
                         float* dgain, float* dbias, i64 begin, i64 end) {
  const D d;
  const i64 rows = x.size(0);
  const i64 stride = x.stride(0);
  const auto share = hn::Set(d, 1.0f / static_cast<float>(rows));
  ForVectors(d, end - begin, [&](i64 i, auto part) HWY_ATTR {
    const i64 c = begin + i;
    const float* column = x.data() + c;
    const float* slopes = dy.data() + c;
    const auto mu = part.load(d, mean + c);
    const auto scale = part.load(d, rstd + c);
    const auto sum =
        SumOverRows(rows, [&](i64 r) HWY_ATTR { return part.load(d, slopes + r * stride); });
    const auto sum_n = SumOverRows(rows, [&](i64 r) HWY_ATTR {
      const auto n = hn::Mul(hn::Sub(part.load(d, column + r * stride), mu), scale);
      return hn::Mul(part.load(d, slopes + r * stride), n);
    });
    const auto factor = hn::Mul(scale, part.load(d, gain + c));
    const auto mean_dy = hn::Mul(sum, share);
    const auto mean_dyn = hn::Mul(sum_n, share);
    for (i64 r = 0; r < rows; ++r) {
      const auto n = hn::Mul(hn::Sub(part.load(d, column + r * stride), mu), scale);
      const auto centered = hn::Sub(part.load(d, slopes + r * stride), mean_dy);
      part.store(hn::Mul(factor, hn::NegMulAdd(n, mean_dyn, centered)), d,
                 dx.data() + c + r * stride);
    }
    part.store(hn::Add(part.load(d, dgain + c), sum_n), d, dgain + c);
    part.store(hn::Add(part.load(d, dbias + c), sum), d, dbias + c);
  });
}

void ApplyRow(const float* x, const float* gain, const float* bias, const float* mean,
              const float* var, float eps, i64 dim, float* y) {
  const D d;
  ForVectors(d, dim, [&](i64 i, auto part) HWY_ATTR {
    const auto deviation = hn::Sub(part.load(d, x + i), part.load(d, mean + i));
    const auto n = hn::Div(deviation, hn::Sqrt(hn::Add(part.load(d, var + i), hn::Set(d, eps))));
    part.store(hn::MulAdd(n, part.load(d, gain + i), part.load(d, bias + i)), d, y + i);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace orrery::cpu {

HWY_EXPORT(NormColumns);
HWY_EXPORT(NormBackwardColumns);
HWY_EXPORT(ApplyRow);

namespace {

// columns of one task: two to eight vectors
constexpr i64 kTaskColumns = 32;

}  // namespace

void batch_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, float momentum, View<float, 1> running_mean,
                View<float, 1> running_var, View<float, 2> y, View<float, 1> mean,
                View<float, 1> rstd) {
  const auto kernel = ORRERY_KERNEL(NormColumns);
  ctx.parallel_ranges(x.size(1), kTaskColumns, [&](i64 begin, i64 end, int) {
    kernel(x, gain.data(), bias.data(), eps, momentum, running_mean.data(), running_var.data(), y,
           mean.data(), rstd.data(), begin, end);
  });
}

void batch_norm_backward(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                         View<const float, 1> mean, View<const float, 1> rstd,
                         View<const float, 2> dy, View<float, 2> dx, View<float, 1> dgain,
                         View<float, 1> dbias) {
  const auto kernel = ORRERY_KERNEL(NormBackwardColumns);
  ctx.parallel_ranges(x.size(1), kTaskColumns, [&](i64 begin, i64 end, int) {
    kernel(x, gain.data(), mean.data(), rstd.data(), dy, dx, dgain.data(), dbias.data(), begin,
           end);
  });
}

void batch_norm_apply(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                      View<const float, 1> bias, View<const float, 1> running_mean,
                      View<const float, 1> running_var, float eps, View<float, 2> y) {
  const auto kernel = ORRERY_KERNEL(ApplyRow);
  const i64 dim = x.size(1);
  ctx.parallel_ranges(x.size(0), std::max<i64>(1, kValuesPerPiece / std::max<i64>(1, dim)),
                      [&](i64 begin, i64 end, int) {
                        for (i64 r = begin; r < end; ++r) {
                          kernel(x.data() + r * dim, gain.data(), bias.data(), running_mean.data(),
                                 running_var.data(), eps, dim, y.data() + r * dim);
                        }
                      });
}

}  // namespace orrery::cpu
#endif  // HWY_ONCE
