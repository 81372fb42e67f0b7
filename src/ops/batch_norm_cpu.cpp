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

// Columns [begin, end) of everything, one vector of columns at a time. Means of the batch begin as
// the parts that the rows here add to them, each row with its share of 1.

void MeanColumns(View<const float, 2> x, float row_share, float* mean, i64 begin, i64 end) {
  const D d;
  const i64 stride = x.stride(0);
  ForVectors(d, end - begin, [&](i64 i, auto part) HWY_ATTR {
    const float* column = x.data() + begin + i;
    const auto sum =
        SumOverRows(x.size(0), [&](i64 r) HWY_ATTR { return part.load(d, column + r * stride); });
    part.store(hn::Mul(sum, hn::Set(d, row_share)), d, mean + begin + i);
  });
}

void VarianceColumns(View<const float, 2> x, float row_share, const float* mean, float* variance,
                     i64 begin, i64 end) {
  const D d;
  const i64 stride = x.stride(0);
  ForVectors(d, end - begin, [&](i64 i, auto part) HWY_ATTR {
    const float* column = x.data() + begin + i;
    const auto mu = part.load(d, mean + begin + i);
    const auto squares = SumOverRows(x.size(0), [&](i64 r) HWY_ATTR {
      const auto deviation = hn::Sub(part.load(d, column + r * stride), mu);
      return hn::Mul(deviation, deviation);
    });
    part.store(hn::Mul(squares, hn::Set(d, row_share)), d, variance + begin + i);
  });
}

// rstd holds the variance and becomes its namesake; `unbiased` is rows / (rows - 1) of the batch
void NormColumns(View<const float, 2> x, const float* gain, const float* bias, float eps,
                 float momentum, float unbiased, float* running_mean, float* running_var,
                 View<float, 2> y, const float* mean, float* rstd, i64 begin, i64 end) {
  const D d;
  const i64 stride = x.stride(0);
  const auto fresh = hn::Set(d, momentum);
  const auto kept = hn::Set(d, 1.0f - momentum);
  ForVectors(d, end - begin, [&](i64 i, auto part) HWY_ATTR {
    const i64 c = begin + i;
    const float* column = x.data() + c;
    const auto mu = part.load(d, mean + c);
    const auto variance = part.load(d, rstd + c);
    const auto scale = hn::Div(hn::Set(d, 1.0f), hn::Sqrt(hn::Add(variance, hn::Set(d, eps))));
    const auto factor = hn::Mul(scale, part.load(d, gain + c));
    const auto offset = part.load(d, bias + c);
    for (i64 r = 0; r < x.size(0); ++r) {
      const auto deviation = hn::Sub(part.load(d, column + r * stride), mu);
      part.store(hn::MulAdd(deviation, factor, offset), d, y.data() + c + r * stride);
    }
    part.store(hn::MulAdd(kept, part.load(d, running_mean + c), hn::Mul(fresh, mu)), d,
               running_mean + c);
    const auto spread = hn::Mul(variance, hn::Set(d, unbiased));
    part.store(hn::MulAdd(kept, part.load(d, running_var + c), hn::Mul(fresh, spread)), d,
               running_var + c);
    part.store(scale, d, rstd + c);
  });
}

// means over the batch of dy and dy * n, as parts again; dgain and dbias
void SlopeColumns(View<const float, 2> x, float row_share, const float* mean, const float* rstd,
                  View<const float, 2> dy, float* mean_dy, float* mean_dyn, float* dgain,
                  float* dbias, i64 begin, i64 end) {
  const D d;
  const i64 rows = x.size(0);
  const i64 stride = x.stride(0);
  const auto share = hn::Set(d, row_share);
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
    part.store(hn::Mul(sum, share), d, mean_dy + c);
    part.store(hn::Mul(sum_n, share), d, mean_dyn + c);
    part.store(hn::Add(part.load(d, dgain + c), sum_n), d, dgain + c);
    part.store(hn::Add(part.load(d, dbias + c), sum), d, dbias + c);
  });
}

void NormBackwardColumns(View<const float, 2> x, const float* gain, const float* mean,
                         const float* rstd, View<const float, 2> dy, const float* mean_dy,
                         const float* mean_dyn, View<float, 2> dx, i64 begin, i64 end) {
  const D d;
  const i64 stride = x.stride(0);
  ForVectors(d, end - begin, [&](i64 i, auto part) HWY_ATTR {
    const i64 c = begin + i;
    const float* column = x.data() + c;
    const float* slopes = dy.data() + c;
    const auto mu = part.load(d, mean + c);
    const auto scale = part.load(d, rstd + c);
    const auto factor = hn::Mul(scale, part.load(d, gain + c));
    const auto middle = part.load(d, mean_dy + c);
    const auto tilt = part.load(d, mean_dyn + c);
    for (i64 r = 0; r < x.size(0); ++r) {
      const auto n = hn::Mul(hn::Sub(part.load(d, column + r * stride), mu), scale);
      const auto centered = hn::Sub(part.load(d, slopes + r * stride), middle);
      part.store(hn::Mul(factor, hn::NegMulAdd(n, tilt, centered)), d, dx.data() + c + r * stride);
    }
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

HWY_EXPORT(MeanColumns);
HWY_EXPORT(VarianceColumns);
HWY_EXPORT(NormColumns);
HWY_EXPORT(SlopeColumns);
HWY_EXPORT(NormBackwardColumns);
HWY_EXPORT(ApplyRow);

namespace {

// columns of one task: two to eight vectors. 512 rows of them are 64 KiB, which stay in L2 from one
// pass to the next
constexpr i64 kTaskColumns = 32;

template <typename Body>
void for_columns(Context& ctx, i64 dim, const Body& body) {
  ctx.parallel_ranges(dim, kTaskColumns, [&](i64 begin, i64 end, int) { body(begin, end); });
}

}  // namespace

void batch_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, float momentum, View<float, 1> running_mean,
                View<float, 1> running_var, View<float, 2> y, View<float, 1> mean,
                View<float, 1> rstd, const BatchShare& share) {
  const auto mean_kernel = ORRERY_KERNEL(MeanColumns);
  const auto variance_kernel = ORRERY_KERNEL(VarianceColumns);
  const auto norm_kernel = ORRERY_KERNEL(NormColumns);
  const i64 dim = x.size(1);
  const auto rows = static_cast<float>(share.whole(x.size(0)));
  const float row_share = 1.0f / rows;
  // rstd holds the variance until it is known of the whole batch
  const auto find_mean = [&](i64 begin, i64 end) {
    mean_kernel(x, row_share, mean.data(), begin, end);
  };
  const auto find_variance = [&](i64 begin, i64 end) {
    variance_kernel(x, row_share, mean.data(), rstd.data(), begin, end);
  };
  const auto normalise = [&](i64 begin, i64 end) {
    norm_kernel(x, gain.data(), bias.data(), eps, momentum, rows / (rows - 1.0f),
                running_mean.data(), running_var.data(), y, mean.data(), rstd.data(), begin, end);
  };
  if (share.sums == nullptr) {
    for_columns(ctx, dim, [&](i64 begin, i64 end) {
      find_mean(begin, end);
      find_variance(begin, end);
      normalise(begin, end);
    });
    return;
  }
  for_columns(ctx, dim, find_mean);
  share.sums->add_up(mean);
  for_columns(ctx, dim, find_variance);
  share.sums->add_up(rstd);
  for_columns(ctx, dim, normalise);
}

void batch_norm_backward(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                         View<const float, 1> mean, View<const float, 1> rstd,
                         View<const float, 2> dy, View<float, 2> dx, View<float, 1> dgain,
                         View<float, 1> dbias, const BatchShare& share) {
  const auto slope_kernel = ORRERY_KERNEL(SlopeColumns);
  const auto norm_kernel = ORRERY_KERNEL(NormBackwardColumns);
  const i64 dim = x.size(1);
  const float row_share = 1.0f / static_cast<float>(share.whole(x.size(0)));
  const View<float, 1> means(reinterpret_cast<float*>(ctx.shared_scratch(
                                 static_cast<std::size_t>(2 * dim) * sizeof(float))),
                             {2 * dim});
  float* const mean_dy = means.data();
  float* const mean_dyn = means.data() + dim;
  const auto find_means = [&](i64 begin, i64 end) {
    slope_kernel(x, row_share, mean.data(), rstd.data(), dy, mean_dy, mean_dyn, dgain.data(),
                 dbias.data(), begin, end);
  };
  const auto find_dx = [&](i64 begin, i64 end) {
    norm_kernel(x, gain.data(), mean.data(), rstd.data(), dy, mean_dy, mean_dyn, dx, begin, end);
  };
  if (share.sums == nullptr) {
    for_columns(ctx, dim, [&](i64 begin, i64 end) {
      find_means(begin, end);
      find_dx(begin, end);
    });
    return;
  }
  for_columns(ctx, dim, find_means);
  share.sums->add_up(means);
  for_columns(ctx, dim, find_dx);
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
