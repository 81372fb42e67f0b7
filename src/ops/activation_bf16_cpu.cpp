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

// as many values as a vector of floats has lanes
struct Halves {
  static HWY_INLINE V load(const bf16* from) {
    const D d;
    const hn::RebindToUnsigned<D> du;
    const hn::Rebind<u16, D> d16;
    const auto bits = hn::LoadU(d16, reinterpret_cast<const u16*>(from));
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
  }
  // to nearest, ties to even; not for NaN with a full fraction, which activations do not make
  static HWY_INLINE void store(V value, bf16* to) {
    const hn::RebindToUnsigned<D> du;
    const hn::RebindToSigned<D> di;
    const hn::Rebind<u16, D> d16;
    const auto bits = hn::BitCast(du, value);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
    const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fffu))));
    hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, rounded)), d16, reinterpret_cast<u16*>(to));
  }
};

// body(i) for every whole vector of [0, count), then through copies for what is left: x and dy are
// read, to is written
template <class Body>
HWY_INLINE void ForHalves(i64 count, const bf16* x, const bf16* dy, bf16* to, const Body& body) {
  constexpr i64 kMost = static_cast<i64>(hn::MaxLanes(D()));
  const i64 lanes = static_cast<i64>(hn::Lanes(D()));
  i64 i = 0;
  for (; i + lanes <= count; i += lanes) {
    Halves::store(body(Halves::load(x + i), Halves::load(dy + i)), to + i);
  }
  if (i == count) return;
  bf16 left[2][kMost] = {}, result[kMost];
  for (i64 j = i; j < count; ++j) {
    left[0][j - i] = x[j];
    left[1][j - i] = dy[j];
  }
  Halves::store(body(Halves::load(left[0]), Halves::load(left[1])), result);
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
