#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/cpu_path.h"
#include "ops/gemm.h"
#include "ops/sigreg.h"

// this file is read once per instruction set, the struct must not be
#ifndef ORRERY_OPS_SIGREG_KNOTS_
#define ORRERY_OPS_SIGREG_KNOTS_
namespace orrery::cpu {

// t_k, phi_k and w_k of sigreg.h
struct Knots {
  int count;
  float dt;
  float t[kSigregMaxKnots];
  float phi[kSigregMaxKnots];
  float weight[kSigregMaxKnots];
};

}  // namespace orrery::cpu
#endif  // ORRERY_OPS_SIGREG_KNOTS_

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/sigreg_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace orrery::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// columns [begin, end) of directions, each divided by its length
void ScaleColumns(View<const float, 2> directions, float* out, i64 begin, i64 end) {
  const D d;
  const i64 dim = directions.size(0);
  const i64 stride = directions.size(1);
  ForVectors(d, end - begin, [&](i64 i, auto part) HWY_ATTR {
    const float* column = directions.data() + begin + i;
    auto squares = hn::Zero(d);
    for (i64 r = 0; r < dim; ++r) {
      const auto value = part.load(d, column + r * stride);
      squares = hn::MulAdd(value, value, squares);
    }
    const auto length = hn::Sqrt(squares);
    for (i64 r = 0; r < dim; ++r) {
      part.store(hn::Div(part.load(d, column + r * stride), length), d,
                 out + begin + i + r * stride);
    }
  });
}

// Sums over the rows of h [rows, projections] of row_share times cosine and sine at every knot but
// the first (cos 0 = 1, sin 0 = 0), for columns [begin, end): means [2, knots, projections].
//
// One sine and cosine per value, of dt * h; those of the other knots follow by rotating with it: 6
// operations a knot.
void MeanColumns(const Knots& knots, const float* h, i64 rows, i64 projections, i64 begin, i64 end,
                 float row_share, float* means) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const int count = knots.count;
  const auto dt = hn::Set(d, knots.dt);
  const auto share = hn::Set(d, row_share);
  HWY_ALIGN float cosines[kSigregMaxKnots * hn::MaxLanes(D())];
  HWY_ALIGN float sines[kSigregMaxKnots * hn::MaxLanes(D())];

  ForVectors(d, end - begin, [&](i64 i, auto part) HWY_ATTR {
    const float* column = h + begin + i;
    for (std::size_t k = 0; k < static_cast<std::size_t>(count); ++k) {
      hn::Store(hn::Zero(d), d, cosines + k * lanes);
      hn::Store(hn::Zero(d), d, sines + k * lanes);
    }
    for (i64 b = 0; b < rows; ++b) {
      V sine, cosine;
      SinCos(d, hn::Mul(dt, part.load(d, column + b * projections)), sine, cosine);
      V s = sine, c = cosine;
      for (int k = 1; k < count; ++k) {
        float* c_sum = cosines + static_cast<std::size_t>(k) * lanes;
        float* s_sum = sines + static_cast<std::size_t>(k) * lanes;
        hn::Store(hn::Add(hn::Load(d, c_sum), c), d, c_sum);
        hn::Store(hn::Add(hn::Load(d, s_sum), s), d, s_sum);
        const V next = hn::NegMulAdd(s, sine, hn::Mul(c, cosine));
        s = hn::MulAdd(c, sine, hn::Mul(s, cosine));
        c = next;
      }
    }
    for (int k = 0; k < count; ++k) {
      const auto at = static_cast<std::size_t>(k) * lanes;
      float* mean = means + k * projections + begin + i;
      part.store(hn::Mul(hn::Load(d, cosines + at), share), d, mean);
      part.store(hn::Mul(hn::Load(d, sines + at), share), d, mean + count * projections);
    }
  });
}

// The statistics of columns [begin, end) from the means of the batch and, when asked, slope * d
// statistic / d h (without the factor B) in place of h.
void StatisticColumns(const Knots& knots, const float* means, i64 batch, float* h, i64 rows,
                      i64 projections, i64 begin, i64 end, bool with_slope, float slope,
                      float* statistics) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const int count = knots.count;
  const auto dt = hn::Set(d, knots.dt);
  // what multiplies each cosine and sine in the slope
  HWY_ALIGN float of_cosine[kSigregMaxKnots * hn::MaxLanes(D())];
  HWY_ALIGN float of_sine[kSigregMaxKnots * hn::MaxLanes(D())];

  ForVectors(d, end - begin, [&](i64 i, auto part) HWY_ATTR {
    V statistic = hn::Zero(d);
    for (int k = 1; k < count; ++k) {
      const float* mean = means + k * projections + begin + i;
      const V miss = hn::Sub(part.load(d, mean), hn::Set(d, knots.phi[k]));
      const V mean_sine = part.load(d, mean + count * projections);
      const V square = hn::MulAdd(miss, miss, hn::Mul(mean_sine, mean_sine));
      statistic = hn::MulAdd(hn::Set(d, knots.weight[k]), square, statistic);
      const V factor = hn::Set(d, 2.0f * slope * knots.weight[k] * knots.t[k]);
      const auto at = static_cast<std::size_t>(k) * lanes;
      hn::Store(hn::Mul(factor, mean_sine), d, of_cosine + at);
      hn::Store(hn::Mul(factor, miss), d, of_sine + at);
    }
    part.store(hn::Mul(statistic, hn::Set(d, static_cast<float>(batch))), d,
               statistics + begin + i);

    if (!with_slope) return;
    float* column = h + begin + i;
    for (i64 b = 0; b < rows; ++b) {
      V sine, cosine;
      SinCos(d, hn::Mul(dt, part.load(d, column + b * projections)), sine, cosine);
      V s = sine, c = cosine;
      V sum = hn::Zero(d);
      for (int k = 1; k < count; ++k) {
        const auto at = static_cast<std::size_t>(k) * lanes;
        sum = hn::MulAdd(c, hn::Load(d, of_cosine + at), sum);
        sum = hn::NegMulAdd(s, hn::Load(d, of_sine + at), sum);
        const V next = hn::NegMulAdd(s, sine, hn::Mul(c, cosine));
        s = hn::MulAdd(c, sine, hn::Mul(s, cosine));
        c = next;
      }
      part.store(sum, d, column + b * projections);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace orrery {

namespace {

// floats that begin on a cache line
i64 padded(i64 values) { return (values + 15) / 16 * 16; }

}  // namespace

namespace cpu {

HWY_EXPORT(ScaleColumns);
HWY_EXPORT(MeanColumns);
HWY_EXPORT(StatisticColumns);

double sigreg_loss(Context& ctx, const SigregSettings& settings, View<const float, 3> z,
                   View<const float, 2> directions, View<float, 2> statistics, View<float, 3> dz,
                   const BatchShare& batch_share) {
  const auto scale_kernel = ORRERY_KERNEL(ScaleColumns);
  const auto mean_kernel = ORRERY_KERNEL(MeanColumns);
  const auto kernel = ORRERY_KERNEL(StatisticColumns);
  const i64 time = z.size(0), rows = z.size(1), dim = z.size(2), projections = directions.size(1);
  const i64 batch = batch_share.whole(rows);
  // columns of one task: 2 to 16 vectors
  constexpr i64 kTaskColumns = 32;

  Knots knots;
  knots.count = settings.knots;
  const double dt = static_cast<double>(settings.span) / (settings.knots - 1);
  knots.dt = static_cast<float>(dt);
  for (int k = 0; k < knots.count; ++k) {
    const double t = k * dt;
    const double phi = std::exp(-0.5 * t * t);
    knots.t[k] = static_cast<float>(t);
    knots.phi[k] = static_cast<float>(phi);
    knots.weight[k] = static_cast<float>(phi * dt * (k == 0 || k == knots.count - 1 ? 1 : 2));
  }

  // Projections and means of one time step after the other; of all at once where the means wait for
  // other processes, so that they are asked once.
  const i64 kept = batch_share.sums == nullptr ? 1 : time;
  const i64 mean_count = 2 * knots.count * projections;
  float* memory = reinterpret_cast<float*>(ctx.shared_scratch(
      static_cast<std::size_t>(padded(dim * projections) +
                               kept * (padded(rows * projections) + padded(mean_count))) *
      sizeof(float)));
  const View<float, 2> unit(memory, {dim, projections});
  float* const projected = memory + padded(dim * projections);
  const View<float, 1> means(projected + kept * padded(rows * projections),
                             {kept * padded(mean_count)});
  ctx.parallel_ranges(projections, kTaskColumns, [&](i64 begin, i64 end, int) {
    scale_kernel(directions, unit.data(), begin, end);
  });

  const double share = 1.0 / static_cast<double>(time * projections);
  const float row_share = 1.0f / static_cast<float>(batch);
  const auto find_means = [&](i64 t, float* h, float* mean) {
    gemm(ctx, z[t], unit, false, View<float, 2>(h, {rows, projections}));
    ctx.parallel_ranges(projections, kTaskColumns, [&](i64 begin, i64 end, int) {
      mean_kernel(knots, h, rows, projections, begin, end, row_share, mean);
    });
  };
  const auto measure = [&](i64 t, float* h, const float* mean) {
    ctx.parallel_ranges(projections, kTaskColumns, [&](i64 begin, i64 end, int) {
      kernel(knots, mean, batch, h, rows, projections, begin, end, static_cast<bool>(dz),
             static_cast<float>(share), statistics[t].data());
    });
    if (dz) {
      gemm(ctx, View<const float, 2>(h, {rows, projections}), unit.transposed(), false, dz[t]);
    }
  };
  if (batch_share.sums == nullptr) {
    for (i64 t = 0; t < time; ++t) {
      find_means(t, projected, means.data());
      measure(t, projected, means.data());
    }
  } else {
    const auto h = [&](i64 t) { return projected + t * padded(rows * projections); };
    const auto mean = [&](i64 t) { return means.data() + t * padded(mean_count); };
    // what pads it is added up too
    std::fill_n(means.data(), means.numel(), 0.0f);
    for (i64 t = 0; t < time; ++t) find_means(t, h(t), mean(t));
    batch_share.sums->add_up(means);
    for (i64 t = 0; t < time; ++t) measure(t, h(t), mean(t));
  }

  double sum = 0;
  for (i64 t = 0; t < time; ++t) {
    for (i64 m = 0; m < projections; ++m) sum += static_cast<double>(statistics(t, m));
  }
  return sum * share;
}

}  // namespace cpu
}  // namespace orrery
#endif  // HWY_ONCE
