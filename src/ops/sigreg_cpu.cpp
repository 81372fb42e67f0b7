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

// Columns [begin, end) of h [batch, projections], each one sample of a distribution: writes its
// statistic and, when asked, puts slope * d statistic / d h (without the factor batch) in place of
// h.
//
// One sine and cosine per value, of dt * h; those of the other knots follow by rotating with it: 6
// operations a knot.
void StatisticColumns(const Knots& knots, float* h, i64 batch, i64 projections, i64 begin, i64 end,
                      bool with_slope, float slope, float* statistics) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const int count = knots.count;
  const auto dt = hn::Set(d, knots.dt);
  const auto share = hn::Set(d, 1.0f / static_cast<float>(batch));
  // sums over the batch, knot by knot; then what multiplies each sine and cosine in the slope
  HWY_ALIGN float cosines[kSigregMaxKnots * hn::MaxLanes(D())];
  HWY_ALIGN float sines[kSigregMaxKnots * hn::MaxLanes(D())];

  ForVectors(d, end - begin, [&](i64 i, auto part) HWY_ATTR {
    float* column = h + begin + i;
    for (std::size_t k = 0; k < static_cast<std::size_t>(count); ++k) {
      hn::Store(hn::Zero(d), d, cosines + k * lanes);
      hn::Store(hn::Zero(d), d, sines + k * lanes);
    }
    for (i64 b = 0; b < batch; ++b) {
      V sine, cosine;
      SinCos(d, hn::Mul(dt, part.load(d, column + b * projections)), sine, cosine);
      // knot 0: cos 0 = 1 and sin 0 = 0 need no sum
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

    V statistic = hn::Zero(d);
    for (int k = 1; k < count; ++k) {
      float* c_sum = cosines + static_cast<std::size_t>(k) * lanes;
      float* s_sum = sines + static_cast<std::size_t>(k) * lanes;
      const V miss = hn::Sub(hn::Mul(hn::Load(d, c_sum), share), hn::Set(d, knots.phi[k]));
      const V mean_sine = hn::Mul(hn::Load(d, s_sum), share);
      const V square = hn::MulAdd(miss, miss, hn::Mul(mean_sine, mean_sine));
      statistic = hn::MulAdd(hn::Set(d, knots.weight[k]), square, statistic);
      const V factor = hn::Set(d, 2.0f * slope * knots.weight[k] * knots.t[k]);
      hn::Store(hn::Mul(factor, mean_sine), d, c_sum);
      hn::Store(hn::Mul(factor, miss), d, s_sum);
    }
    part.store(hn::Mul(statistic, hn::Set(d, static_cast<float>(batch))), d,
               statistics + begin + i);

    if (!with_slope) return;
    for (i64 b = 0; b < batch; ++b) {
      V sine, cosine;
      SinCos(d, hn::Mul(dt, part.load(d, column + b * projections)), sine, cosine);
      V s = sine, c = cosine;
      V sum = hn::Zero(d);
      for (int k = 1; k < count; ++k) {
        sum = hn::MulAdd(c, hn::Load(d, cosines + static_cast<std::size_t>(k) * lanes), sum);
        sum = hn::NegMulAdd(s, hn::Load(d, sines + static_cast<std::size_t>(k) * lanes), sum);
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

// [dim, projections] and [batch, projections], each from a cache line on
std::size_t padded(i64 values) {
  return (static_cast<std::size_t>(values) * sizeof(float) + 63) / 64 * 64;
}

}  // namespace

std::size_t sigreg_scratch_bytes(i64 /*time*/, i64 batch, i64 dim, i64 projections) {
  // one time step after the other
  return padded(dim * projections) + padded(batch * projections);
}

namespace cpu {

HWY_EXPORT(ScaleColumns);
HWY_EXPORT(StatisticColumns);

double sigreg(Context& ctx, const SigregSettings& settings, View<const float, 3> z,
              View<const float, 2> directions, View<float, 2> statistics, View<float, 3> dz) {
  const auto scale_kernel = ORRERY_KERNEL(ScaleColumns);
  const auto kernel = ORRERY_KERNEL(StatisticColumns);
  const i64 time = z.size(0), batch = z.size(1), dim = z.size(2), projections = directions.size(1);
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

  std::byte* memory = ctx.shared_scratch(sigreg_scratch_bytes(time, batch, dim, projections));
  const View<float, 2> unit(reinterpret_cast<float*>(memory), {dim, projections});
  const View<float, 2> h(reinterpret_cast<float*>(memory + padded(dim * projections)),
                         {batch, projections});
  ctx.parallel_ranges(projections, kTaskColumns, [&](i64 begin, i64 end, int) {
    scale_kernel(directions, unit.data(), begin, end);
  });

  const double share = 1.0 / static_cast<double>(time * projections);
  for (i64 t = 0; t < time; ++t) {
    gemm(ctx, z[t], unit, false, h);
    ctx.parallel_ranges(projections, kTaskColumns, [&](i64 begin, i64 end, int) {
      kernel(knots, h.data(), batch, projections, begin, end, static_cast<bool>(dz),
             static_cast<float>(share), statistics[t].data());
    });
    if (dz) gemm(ctx, h, unit.transposed(), false, dz[t]);
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
