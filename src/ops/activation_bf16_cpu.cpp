#include "ops/activation_bf16.h"
#include "ops/cpu_path.h"
#include "ops/pieces.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/activation_bf16_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace orrery::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// body(i) for every whole vector of [0, count), then through copies for what is left: x and dy are
// read, to is written
template <class Body>
HWY_INLINE void ForHalves(i64 count, const bf16* x, const bf16* dy, bf16* to, const Body& body) {
  const D d;
  constexpr i64 kMost = static_cast<i64>(hn::MaxLanes(D()));
  const i64 lanes = static_cast<i64>(hn::Lanes(D()));
  i64 i = 0;
  for (; i + lanes <= count; i += lanes) {
    StoreHalves(body(LoadHalves(d, x + i), LoadHalves(d, dy + i)), d, to + i);
  }
  if (i == count) return;
  bf16 left[2][kMost] = {}, result[kMost];
  for (i64 j = i; j < count; ++j) {
    left[0][j - i] = x[j];
    left[1][j - i] = dy[j];
  }
  StoreHalves(body(LoadHalves(d, left[0]), LoadHalves(d, left[1])), d, result);
  for (i64 j = i; j < count; ++j) to[j] = result[j - i];
}

void ActivateBf16(Activation activation, const bf16* x, bf16* y, i64 count) {
  const D d;
  switch (activation) {
    case Activation::gelu:
      return ForHalves(count, x, x, y, [&](V value, V) HWY_ATTR { return Gelu(d, value); });
    case Activation::silu:
      return ForHalves(count, x, x, y, [&](V value, V) HWY_ATTR { return Silu(d, value); });
    case Activation::none:
      return ForHalves(count, x, x, y, [](V value, V) HWY_ATTR { return value; });
  }
}

void ActivateBf16Backward(Activation activation, const bf16* x, const bf16* dy, bf16* dx,
                          i64 count) {
  const D d;
  switch (activation) {
    case Activation::gelu:
      return ForHalves(count, x, dy, dx, [&](V value, V slope) HWY_ATTR {
        return hn::Mul(slope, GeluSlope(d, value));
      });
    case Activation::silu:
      return ForHalves(count, x, dy, dx, [&](V value, V slope) HWY_ATTR {
        return hn::Mul(slope, SiluSlope(d, value));
      });
    case Activation::none:
      return ForHalves(count, x, dy, dx, [](V, V slope) HWY_ATTR { return slope; });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace orrery::cpu {

HWY_EXPORT(ActivateBf16);
HWY_EXPORT(ActivateBf16Backward);

void activate_bf16(Context& ctx, Activation activation, View<const bf16, 1> x, View<bf16, 1> y) {
  const auto kernel = ORRERY_KERNEL(ActivateBf16);
  ctx.parallel_ranges(x.size(0), kValuesPerPiece, [&](i64 begin, i64 end, int) {
    kernel(activation, x.data() + begin, y.data() + begin, end - begin);
  });
}

void activate_bf16_backward(Context& ctx, Activation activation, View<const bf16, 1> x,
                            View<const bf16, 1> dy, View<bf16, 1> dx) {
  const auto kernel = ORRERY_KERNEL(ActivateBf16Backward);
  ctx.parallel_ranges(x.size(0), kValuesPerPiece, [&](i64 begin, i64 end, int) {
    kernel(activation, x.data() + begin, dy.data() + begin, dx.data() + begin, end - begin);
  });
}

}  // namespace orrery::cpu
#endif  // HWY_ONCE
