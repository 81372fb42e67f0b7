#include <cstring>

#include "ops/activation.h"
#include "ops/cpu_path.h"
#include "ops/pieces.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/activation_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace orrery::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;

void Activate(Activation activation, const float* x, float* y, i64 count) {
  const D d;
  switch (activation) {
    case Activation::gelu:
      ForVectors(d, count, [&](i64 i, auto part) HWY_ATTR {
        part.store(Gelu(d, part.load(d, x + i)), d, y + i);
      });
      return;
    case Activation::silu:
      ForVectors(d, count, [&](i64 i, auto part) HWY_ATTR {
        part.store(Silu(d, part.load(d, x + i)), d, y + i);
      });
      return;
    case Activation::none:
      if (x != y) std::memcpy(y, x, static_cast<std::size_t>(count) * sizeof(float));
      return;
  }
}

void ActivateBackward(Activation activation, const float* x, const float* dy, float* dx,
                      i64 count) {
  const D d;
  switch (activation) {
    case Activation::gelu:
      ForVectors(d, count, [&](i64 i, auto part) HWY_ATTR {
        part.store(hn::Mul(part.load(d, dy + i), GeluSlope(d, part.load(d, x + i))), d, dx + i);
      });
      return;
    case Activation::silu:
      ForVectors(d, count, [&](i64 i, auto part) HWY_ATTR {
        part.store(hn::Mul(part.load(d, dy + i), SiluSlope(d, part.load(d, x + i))), d, dx + i);
      });
      return;
    case Activation::none:
      if (dy != dx) std::memcpy(dx, dy, static_cast<std::size_t>(count) * sizeof(float));
      return;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace orrery::cpu {

HWY_EXPORT(Activate);
HWY_EXPORT(ActivateBackward);

void activate(Context& ctx, Activation activation, View<const float, 1> x, View<float, 1> y) {
  const auto kernel = ORRERY_KERNEL(Activate);
  ctx.parallel_ranges(x.size(0), kValuesPerPiece, [&](i64 begin, i64 end, int) {
    kernel(activation, x.data() + begin, y.data() + begin, end - begin);
  });
}

void activate_backward(Context& ctx, Activation activation, View<const float, 1> x,
                       View<const float, 1> dy, View<float, 1> dx) {
  const auto kernel = ORRERY_KERNEL(ActivateBackward);
  ctx.parallel_ranges(x.size(0), kValuesPerPiece, [&](i64 begin, i64 end, int) {
    kernel(activation, x.data() + begin, dy.data() + begin, dx.data() + begin, end - begin);
  });
}

}  // namespace orrery::cpu
#endif  // HWY_ONCE
