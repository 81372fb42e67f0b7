// Vector exp, GELU, SiLU and sine with cosine for f32, included once per instruction set: only by
// *_cpu.cpp files, after hwy/foreach_target.h and hwy/highway.h.
//
// Polynomials are minimax fits of our own (Remez exchange at 40 digits); each names its range and
// its error. Where the CPU has no fused multiply-add, products that must be exact are split by
// hand.

// a guard per instruction set: the file is seen once for every target
#if defined(ORRERY_OPS_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ORRERY_OPS_MATH_INL_H_
#undef ORRERY_OPS_MATH_INL_H_
#else
#define ORRERY_OPS_MATH_INL_H_
#endif

#include <cstring>

#include <hwy/highway.h>

#include "base/bf16.h"
#include "base/types.h"

HWY_BEFORE_NAMESPACE();
namespace orrery::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// ln 2 in two parts: n * high is exact for |n| < 2^9
inline constexpr float kLn2High = 0.693145751953125f;
inline constexpr float kLn2Low = 1.42860682030941723e-6f;
inline constexpr float kLog2e = 1.44269504088896341f;

// 1.5 * 2^23 + 127: adding it rounds to an integer and leaves that integer, biased as an exponent,
// in the low bits
inline constexpr float kExponentMagic = 12583039.0f;

// e^r * 2^n for |r| <= ln 2 / 2, biased = n + kExponentMagic, -126 <= n <= 127
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpReduced(D d, V r, V biased) {
  const hn::RebindToSigned<D> di;
  // e^r = 1 + r + r^2 p(r), relative error 3.1e-9
  V p = hn::Set(d, 1.381410072e-3f);
  p = hn::MulAdd(p, r, hn::Set(d, 8.368790226e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.166839967e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.666652003e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.99999934e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, biased))));
}

// e^x within 2 ulp; x below -87 gives e^-87 (1.6e-38, a normal number), x above 88 gives e^88
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  x = hn::Min(hn::Max(x, hn::Set(d, -87.0f)), hn::Set(d, 88.0f));
  const V biased = hn::MulAdd(x, hn::Set(d, kLog2e), hn::Set(d, kExponentMagic));
  const V n = hn::Sub(biased, hn::Set(d, kExponentMagic));
  V r = hn::NegMulAdd(n, hn::Set(d, kLn2High), x);
  r = hn::NegMulAdd(n, hn::Set(d, kLn2Low), r);
  return ExpReduced(d, r, biased);
}

// bell = e^(-x^2 / 2) and the standard normal distribution function Phi(x) = (1 + erf(x / sqrt 2))
// / 2, both with small relative error also far out on the left: Phi(-a) = bell * R(a), R smooth.
// |x| is cut off at 12.9, where Phi is 2e-38.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V NormalCdf(D d, V x, V& bell) {
  const V a = hn::Min(hn::Abs(x), hn::Set(d, 12.9f));

  // e^(-a^2 / 2): a^2 needs more than 24 bits, since its rounding error becomes a relative error of
  // the result
  const V half = hn::Mul(a, hn::Set(d, 0.5f));
#if HWY_NATIVE_FMA
  const V biased = hn::NegMulAdd(hn::Mul(half, a), hn::Set(d, kLog2e), hn::Set(d, kExponentMagic));
  const V n = hn::Sub(biased, hn::Set(d, kExponentMagic));
  V r = hn::NegMulSub(half, a, hn::Mul(n, hn::Set(d, kLn2High)));
#else
  // a = top + rest with 12 bits in top: top^2 is exact, a^2 - top^2 = (a - top)(a + top) is small
  const hn::RebindToUnsigned<D> du;
  const V top = hn::BitCast(d, hn::And(hn::BitCast(du, a), hn::Set(du, 0xfffff000u)));
  const V top_square = hn::Mul(hn::Mul(top, top), hn::Set(d, 0.5f));
  const V rest = hn::Mul(hn::Sub(a, top), hn::Add(half, hn::Mul(top, hn::Set(d, 0.5f))));
  const V biased = hn::NegMulAdd(top_square, hn::Set(d, kLog2e), hn::Set(d, kExponentMagic));
  const V n = hn::Sub(biased, hn::Set(d, kExponentMagic));
  V r = hn::Neg(hn::Add(hn::Add(top_square, hn::Mul(n, hn::Set(d, kLn2High))), rest));
#endif
  r = hn::NegMulAdd(n, hn::Set(d, kLn2Low), r);
  bell = ExpReduced(d, r, biased);

  // R(a) = Phi(-a) e^(a^2 / 2) as a polynomial in t = (a - 4) / (a + 4), relative error 1.7e-8 for
  // a <= 6, 1e-5 beyond
  const V t = hn::Div(hn::Sub(a, hn::Set(d, 4.0f)), hn::Add(a, hn::Set(d, 4.0f)));
  V p = hn::Set(d, 6.188990204e-5f);
  p = hn::MulAdd(p, t, hn::Set(d, 9.594600596e-4f));
  p = hn::MulAdd(p, t, hn::Set(d, 6.734998809e-4f));
  p = hn::MulAdd(p, t, hn::Set(d, -8.471574887e-3f));
  p = hn::MulAdd(p, t, hn::Set(d, 3.085516888e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, -7.170956997e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.24379417e-1f));
  p = hn::MulAdd(p, t, hn::Set(d, -1.703976908e-1f));
  p = hn::MulAdd(p, t, hn::Set(d, 9.441064052e-2f));
  const V left = hn::Mul(bell, p);
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), left, hn::Sub(hn::Set(d, 1.0f), left));
}

// x Phi(x)
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Gelu(D d, V x) {
  V bell;
  return hn::Mul(x, NormalCdf(d, x, bell));
}

// Phi(x) + x phi(x), phi(x) = bell / sqrt(2 pi)
template <class D, class V = hn::Vec<D>>
HWY_INLINE V GeluSlope(D d, V x) {
  V bell;
  const V cdf = NormalCdf(d, x, bell);
  return hn::MulAdd(hn::Mul(x, hn::Set(d, 0.398942280401432678f)), bell, cdf);
}

// 1 / (1 + e^-x), from e^-|x| so that nothing overflows
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V e = Exp(d, hn::Neg(hn::Abs(x)));
  return hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
}

// x / (1 + e^-x)
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Silu(D d, V x) {
  return hn::Mul(x, Sigmoid(d, x));
}

// s + x s (1 - s), s = sigmoid(x)
template <class D, class V = hn::Vec<D>>
HWY_INLINE V SiluSlope(D d, V x) {
  const V s = Sigmoid(d, x);
  return hn::MulAdd(hn::Mul(x, s), hn::Sub(hn::Set(d, 1.0f), s), s);
}

// sin x and cos x for |x| <= 1e4, absolute error 2e-7 (growing to 1e-6 at the end of that range)
template <class D, class V = hn::Vec<D>>
HWY_INLINE void SinCos(D d, V x, V& sine, V& cosine) {
  const hn::RebindToSigned<D> di;
  // quarter turns, and what is left, |r| <= pi / 4; pi / 2 in three parts, the first two short
  // enough for exact products
  const V magic = hn::Set(d, 12582912.0f);
  const V biased = hn::MulAdd(x, hn::Set(d, 0.636619772367581343f), magic);
  const V n = hn::Sub(biased, magic);
  V r = hn::NegMulAdd(n, hn::Set(d, 1.5703125f), x);
  r = hn::NegMulAdd(n, hn::Set(d, 4.837512969970703e-4f), r);
  r = hn::NegMulAdd(n, hn::Set(d, 7.549789948768648e-8f), r);
  const V s = hn::Mul(r, r);

  // sin r = r + r^3 p(s), error 3.6e-9; cos r = 1 - s / 2 + s^2 q(s), error 1e-10
  V p = hn::Set(d, -1.951665577e-4f);
  p = hn::MulAdd(p, s, hn::Set(d, 8.332173543e-3f));
  p = hn::MulAdd(p, s, hn::Set(d, -1.666665487e-1f));
  p = hn::MulAdd(hn::Mul(p, s), r, r);
  V q = hn::Set(d, 2.443773017e-5f);
  q = hn::MulAdd(q, s, hn::Set(d, -1.388736145e-3f));
  q = hn::MulAdd(q, s, hn::Set(d, 4.166664675e-2f));
  q = hn::MulAdd(hn::MulAdd(q, s, hn::Set(d, -0.5f)), s, hn::Set(d, 1.0f));

  // odd quarters exchange the two; the second bit of n, and of n + 1, are the signs
  const auto quarter = hn::BitCast(di, biased);
  const auto odd = hn::MaskFromVec(hn::BitCast(d, hn::Neg(hn::And(quarter, hn::Set(di, 1)))));
  const V sine_sign = hn::BitCast(d, hn::ShiftLeft<31>(hn::ShiftRight<1>(quarter)));
  const V cosine_sign =
      hn::BitCast(d, hn::ShiftLeft<31>(hn::ShiftRight<1>(hn::Add(quarter, hn::Set(di, 1)))));
  sine = hn::Xor(hn::IfThenElse(odd, q, p), sine_sign);
  cosine = hn::Xor(hn::IfThenElse(odd, p, q), cosine_sign);
}

// As many values of bf16 as a vector of floats has lanes. Rounded to nearest, ties to even; not for
// NaN with a full fraction.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LoadHalves(D d, const bf16* from) {
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<u16, D> d16;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const u16*>(from));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreHalves(V value, D, bf16* to) {
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const hn::Rebind<u16, D> d16;
  const auto bits = hn::BitCast(du, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fffu))));
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, rounded)), d16, reinterpret_cast<u16*>(to));
}

// Reads and writes whole vectors, or the first `count` lanes of one without touching memory beyond
// them.
struct Whole {
  template <class D, class T = hn::TFromD<D>>
  HWY_INLINE hn::Vec<D> load(D d, const T* from) const {
    return hn::LoadU(d, from);
  }
  template <class D, class T = hn::TFromD<D>>
  HWY_INLINE void store(hn::Vec<D> value, D d, T* to) const {
    hn::StoreU(value, d, to);
  }
  template <class D>
  HWY_INLINE void store(hn::Vec<D> value, D d, bf16* to) const {
    StoreHalves(value, d, to);
  }
};
struct Part {
  std::size_t count;
  template <class D>
  HWY_INLINE void store(hn::Vec<D> value, D d, bf16* to) const {
    bf16 copy[hn::MaxLanes(D())];
    StoreHalves(value, d, copy);
    std::memcpy(to, copy, count * sizeof(bf16));
  }
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  template <class D, class T = hn::TFromD<D>>
  HWY_INLINE hn::Vec<D> load(D d, const T* from) const {
    return hn::MaskedLoad(hn::FirstN(d, count), d, from);
  }
  template <class D, class T = hn::TFromD<D>>
  HWY_INLINE void store(hn::Vec<D> value, D d, T* to) const {
    hn::BlendedStore(value, hn::FirstN(d, count), d, to);
  }
#else
  // masked access may touch the whole vector here: go through a copy
  template <class D, class T = hn::TFromD<D>>
  HWY_INLINE hn::Vec<D> load(D d, const T* from) const {
    HWY_ALIGN T copy[hn::MaxLanes(D())] = {};
    std::memcpy(copy, from, count * sizeof(T));
    return hn::Load(d, copy);
  }
  template <class D, class T = hn::TFromD<D>>
  HWY_INLINE void store(hn::Vec<D> value, D d, T* to) const {
    HWY_ALIGN T copy[hn::MaxLanes(D())];
    hn::Store(value, d, copy);
    std::memcpy(to, copy, count * sizeof(T));
  }
#endif
};

// body(i, Whole) for every whole vector of [0, count), then body(i, Part) for what is left. Lanes
// beyond a Part load as zero. The body is a lambda marked HWY_ATTR.
template <class D, class Body>
HWY_INLINE void ForVectors(D d, i64 count, const Body& body) {
  const i64 lanes = static_cast<i64>(hn::Lanes(d));
  i64 i = 0;
  for (; i + lanes <= count; i += lanes) body(i, Whole{});
  if (i < count) body(i, Part{static_cast<std::size_t>(count - i)});
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::cpu
HWY_AFTER_NAMESPACE();

#endif  // a guard per instruction set
