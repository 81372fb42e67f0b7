#include <algorithm>
#include <cstring>

#include "ops/adamw.h"
#include "ops/cpu_path.h"
#include "ops/pieces.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/adamw_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace orrery::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// memory-bound: reads 16 bytes and writes 12 per parameter
void AdamWStep(const AdamWFactors<float>& f, float gradient_factor, const float* gradient,
               float* parameter, float* m, float* v, i64 count) {
  const hn::ScalableTag<float> d;
  ForVectors(d, count, [&](i64 i, auto part) HWY_ATTR {
    const auto g = hn::Mul(part.load(d, gradient + i), hn::Set(d, gradient_factor));
    const auto kept = hn::Mul(part.load(d, parameter + i), hn::Set(d, f.keep));
    const auto first =
        hn::Add(hn::Mul(hn::Set(d, f.beta1), part.load(d, m + i)), hn::Mul(hn::Set(d, f.rest1), g));
    const auto second = hn::Add(hn::Mul(hn::Set(d, f.beta2), part.load(d, v + i)),
                                hn::Mul(hn::Set(d, f.rest2), hn::Mul(g, g)));
    const auto size = hn::Add(hn::Div(hn::Sqrt(second), hn::Set(d, f.root)), hn::Set(d, f.eps));
    part.store(first, d, m + i);
    part.store(second, d, v + i);
    part.store(hn::Sub(kept, hn::Mul(hn::Set(d, f.step_size), hn::Div(first, size))), d,
               parameter + i);
  });
}

void MoveTowards(float share, const float* x, float* y, i64 count) {
  const hn::ScalableTag<float> d;
  ForVectors(d, count, [&](i64 i, auto part) HWY_ATTR {
    const auto old = part.load(d, y + i);
    const auto way = hn::Mul(hn::Set(d, share), hn::Sub(part.load(d, x + i), old));
    part.store(hn::Add(old, way), d, y + i);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace orrery::cpu {

HWY_EXPORT(AdamWStep);
HWY_EXPORT(MoveTowards);

void adamw_step(Context& ctx, View<const AdamWStretch, 1> stretches, float gradient_factor,
                View<const float, 1> gradient, View<float, 1> parameter, View<float, 1> m,
                View<float, 1> v) {
  const auto kernel = ORRERY_KERNEL(AdamWStep);
  const AdamWStretch* const first = stretches.data();
  ctx.parallel_ranges(parameter.size(0), kValuesPerPiece, [&](i64 begin, i64 end, int) {
    // the part of every stretch that lies in this range
    const AdamWStretch* stretch = std::upper_bound(
        first, first + stretches.size(0), begin,
        [](i64 place, const AdamWStretch& candidate) { return place < candidate.end; });
    for (; begin < end; ++stretch) {
      const i64 stop = std::min(end, stretch->end);
      kernel(stretch->factors, gradient_factor, gradient.data() + begin, parameter.data() + begin,
             m.data() + begin, v.data() + begin, stop - begin);
      begin = stop;
    }
  });
}

void move_towards(Context& ctx, float share, View<const float, 1> x, View<float, 1> y) {
  const auto kernel = ORRERY_KERNEL(MoveTowards);
  ctx.parallel_ranges(y.size(0), kValuesPerPiece, [&](i64 begin, i64 end, int) {
    kernel(share, x.data() + begin, y.data() + begin, end - begin);
  });
}

}  // namespace orrery::cpu
#endif  // HWY_ONCE
