#pragma once

#include <variant>

#include "base/bf16.h"
#include "device/context.h"
#include "ops/gemm.h"
#include "tensor/view.h"

namespace orrery {

// One factor of a product: floats, which are rounded to bf16 on the way, or values kept as bf16.
// Any strides.
using Factor = std::variant<View<const float, 2>, View<const bf16, 2>>;

inline i64 size_of(const Factor& factor, int dimension) {
  return std::visit([&](const auto& view) { return view.size(dimension); }, factor);
}
// no data moves
inline Factor transposed(const Factor& factor) {
  return std::visit([](const auto& view) { return Factor(view.transposed()); }, factor);
}

// c = residual + a b + bias with both factors in bf16 and everything else in f32: the product of
// mixed precision. On the CPU VDPBF16PS where the processor has AVX-512 BF16, else the f32 product
// of rounded factors; on a CUDA device its tensor cores.
//
//   a   [m, k], b [k, n]
//   c   [m, n]   last dimension contiguous; overlaps neither; as bf16 it is rounded once, last
//   of the epilogue only bias [n] and residual [m, n] may be given; the residual may be c
//
// tolerant: the products of rounded factors are exact in f32, their sums within 2 k 2^-24 sum |a b|
// of the exact ones; numbers below 2^-126 count as 0 on the CPU. steady: the order of sums depends
// on the sizes and the instruction set, or the device, alone
void multiply_bf16(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                   View<float, 2> c);
void multiply_bf16(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                   View<bf16, 2> c);

// Through an activation, as training goes: `wide` is kept for the way back, the next product reads
// `active`. Both are written in one pass.
//
//   wide = a b + bias, rounded;  active = activation(wide), of the rounded values
//
//   wide, active   [m, n]  last dimensions contiguous
//   activation     gelu or silu
//
// tolerant: as multiply_bf16 and activate_bf16
void multiply_activate_bf16(Context& ctx, const Factor& a, const Factor& b,
                            View<const float, 1> bias, Activation activation, View<bf16, 2> wide,
                            View<bf16, 2> active);

// And back: slopes = (a b) * activation'(wide). The CPU rounds the product before it takes the
// slope, a device does not.
void multiply_slopes_bf16(Context& ctx, const Factor& a, const Factor& b, Activation activation,
                          View<const bf16, 2> wide, View<bf16, 2> slopes);

// What the products above run with on a CPU: "avx512bf16", or "f32" without the instruction (or
// when ORRERY_CPU forces a path that has none).
const char* multiply_bf16_path();

}  // namespace orrery
