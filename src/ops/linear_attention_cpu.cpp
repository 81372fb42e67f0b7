#include <algorithm>
#include <cstring>

#include "ops/cpu_path.h"
#include "ops/linear_attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear_attention_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/math-inl.h"

#ifndef ORRERY_OPS_LINEAR_ATTENTION_ARGUMENTS
#define ORRERY_OPS_LINEAR_ATTENTION_ARGUMENTS
namespace orrery::cpu {

struct LinearAttention {
  View<const float, 4> q, k, v;
  View<float, 4> out;
  View<const float, 4> saved_out, dout;
  View<float, 4> dq, dk, dv;
};

inline constexpr float kDenominatorFloor = 1e-6f;

}  // namespace orrery::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace orrery::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;

// rows [tokens, dim] of one pair
template <typename T>
HWY_INLINE View<T, 2> PairOf(View<T, 4> x, i64 b, i64 h) {
  return View<T, 2>(x.data() + b * x.stride(0) + h * x.stride(2), {x.size(1), x.size(3)},
                    {x.stride(1), 1});
}

// phi(x), dim numbers
HWY_INLINE void Feature(const float* x, i64 dim, float* phi) {
  const D d;
  ForVectors(d, dim, [&](i64 i, auto part) HWY_ATTR {
    const auto u = part.load(d, x + i);
    const auto above = hn::Add(u, hn::Set(d, 1.0f));
    part.store(hn::IfThenElse(hn::Gt(u, hn::Zero(d)), above, Exp(d, u)), d, phi + i);
  });
}

// y += factor * x
HWY_INLINE void AddScaled(float factor, const float* x, i64 dim, float* y) {
  const D d;
  const auto f = hn::Set(d, factor);
  ForVectors(d, dim, [&](i64 i, auto part) HWY_ATTR {
    part.store(hn::MulAdd(f, part.load(d, x + i), part.load(d, y + i)), d, y + i);
  });
}

HWY_INLINE float DotOf(const float* x, const float* y, i64 dim) {
  const D d;
  auto sum = hn::Zero(d);
  ForVectors(d, dim, [&](i64 i, auto part) HWY_ATTR {
    sum = hn::MulAdd(part.load(d, x + i), part.load(d, y + i), sum);
  });
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// S [dim, dim] and n [dim] of all keys; phi [dim] is scratch
HWY_INLINE void SumKeys(View<const float, 2> k, View<const float, 2> v, float* sums, float* norm,
                        float* phi) {
  const i64 dim = k.size(1);
  std::fill_n(sums, dim * dim, 0.0f);
  std::fill_n(norm, dim, 0.0f);
  for (i64 s = 0; s < k.size(0); ++s) {
    Feature(k.data() + s * k.stride(0), dim, phi);
    AddScaled(1.0f, phi, dim, norm);
    for (i64 i = 0; i < dim; ++i)
      AddScaled(phi[i], v.data() + s * v.stride(0), dim, sums + i * dim);
  }
}

// scratch: dim^2 + 2 dim
void LinearForward(const LinearAttention& args, i64 b, i64 h, float* scratch) {
  const auto q = PairOf(args.q, b, h);
  const auto out = PairOf(args.out, b, h);
  const i64 dim = q.size(1);
  float *sums = scratch, *norm = sums + dim * dim, *phi = norm + dim;
  SumKeys(PairOf(args.k, b, h), PairOf(args.v, b, h), sums, norm, phi);
  for (i64 t = 0; t < q.size(0); ++t) {
    Feature(q.data() + t * q.stride(0), dim, phi);
    const float share = 1.0f / (DotOf(phi, norm, dim) + kDenominatorFloor);
    float* to = out.data() + t * out.stride(0);
    std::fill_n(to, dim, 0.0f);
    for (i64 i = 0; i < dim; ++i) AddScaled(share * phi[i], sums + i * dim, dim, to);
  }
}

// dx = dphi * phi'(x), where phi' is 1 above 0 and phi itself below
HWY_INLINE void FeatureSlope(const float* x, const float* phi, const float* dphi, i64 dim,
                             float* dx) {
  const D d;
  ForVectors(d, dim, [&](i64 i, auto part) HWY_ATTR {
    const auto above = hn::Gt(part.load(d, x + i), hn::Zero(d));
    const auto slope = hn::IfThenElse(above, hn::Set(d, 1.0f), part.load(d, phi + i));
    part.store(hn::Mul(part.load(d, dphi + i), slope), d, dx + i);
  });
}

// scratch: 2 dim^2 + 5 dim
void LinearBackward(const LinearAttention& args, i64 b, i64 h, float* scratch) {
  const auto q = PairOf(args.q, b, h), k = PairOf(args.k, b, h), v = PairOf(args.v, b, h);
  const auto out = PairOf(args.saved_out, b, h), dout = PairOf(args.dout, b, h);
  const auto dq = PairOf(args.dq, b, h), dk = PairOf(args.dk, b, h), dv = PairOf(args.dv, b, h);
  const i64 dim = q.size(1);
  float *sums = scratch, *dsums = sums + dim * dim, *norm = dsums + dim * dim;
  float *dnorm = norm + dim, *phi = dnorm + dim, *dphi = phi + dim, *slope = dphi + dim;
  SumKeys(k, v, sums, norm, phi);
  std::fill_n(dsums, dim * dim, 0.0f);
  std::fill_n(dnorm, dim, 0.0f);
  for (i64 t = 0; t < q.size(0); ++t) {
    Feature(q.data() + t * q.stride(0), dim, phi);
    const float share = 1.0f / (DotOf(phi, norm, dim) + kDenominatorFloor);
    // of the numerator, and of the denominator
    const float* dy = dout.data() + t * dout.stride(0);
    std::fill_n(slope, dim, 0.0f);
    AddScaled(share, dy, dim, slope);
    const float dshare = -share * DotOf(dy, out.data() + t * out.stride(0), dim);
    for (i64 i = 0; i < dim; ++i) {
      dphi[i] = DotOf(sums + i * dim, slope, dim) + dshare * norm[i];
      AddScaled(phi[i], slope, dim, dsums + i * dim);
    }
    AddScaled(dshare, phi, dim, dnorm);
    FeatureSlope(q.data() + t * q.stride(0), phi, dphi, dim, dq.data() + t * dq.stride(0));
  }
  for (i64 s = 0; s < k.size(0); ++s) {
    Feature(k.data() + s * k.stride(0), dim, phi);
    float* dvalue = dv.data() + s * dv.stride(0);
    std::fill_n(dvalue, dim, 0.0f);
    for (i64 i = 0; i < dim; ++i) {
      dphi[i] = DotOf(dsums + i * dim, v.data() + s * v.stride(0), dim) + dnorm[i];
      AddScaled(phi[i], dsums + i * dim, dim, dvalue);
    }
    FeatureSlope(k.data() + s * k.stride(0), phi, dphi, dim, dk.data() + s * dk.stride(0));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace orrery::cpu {

HWY_EXPORT(LinearForward);
HWY_EXPORT(LinearBackward);

void linear_attention(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                      View<const float, 4> v, View<float, 4> out) {
  const LinearAttention args = {.q = q, .k = k, .v = v, .out = out};
  const auto kernel = ORRERY_KERNEL(LinearForward);
  const i64 heads = q.size(2), dim = q.size(3);
  const std::size_t bytes = static_cast<std::size_t>(dim * dim + 2 * dim) * sizeof(float);
  ctx.parallel(q.size(0) * heads, [&](i64 pair, int worker) {
    kernel(args, pair / heads, pair % heads,
           reinterpret_cast<float*>(ctx.worker_scratch(worker, bytes)));
  });
}

void linear_attention_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                               View<const float, 4> v, View<const float, 4> out,
                               View<const float, 4> dout, View<float, 4> dq, View<float, 4> dk,
                               View<float, 4> dv) {
  const LinearAttention args = {
      .q = q, .k = k, .v = v, .saved_out = out, .dout = dout, .dq = dq, .dk = dk, .dv = dv};
  const auto kernel = ORRERY_KERNEL(LinearBackward);
  const i64 heads = q.size(2), dim = q.size(3);
  const std::size_t bytes = static_cast<std::size_t>(2 * dim * dim + 5 * dim) * sizeof(float);
  ctx.parallel(q.size(0) * heads, [&](i64 pair, int worker) {
    kernel(args, pair / heads, pair % heads,
           reinterpret_cast<float*>(ctx.worker_scratch(worker, bytes)));
  });
}

}  // namespace orrery::cpu
#endif  // HWY_ONCE
