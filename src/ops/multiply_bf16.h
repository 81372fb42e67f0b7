#pragma once

#include <variant>

#include "base/bf16.h"
#include "base/function_ref.h"
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
// mixed precision. CPU only; VDPBF16PS where the processor has AVX-512 BF16, else the f32 product
// of rounded factors.
//
//   a   [m, k], b [k, n]
//   c   [m, n]   last dimension contiguous; overlaps neither; as bf16 it is rounded once, last
//   of the epilogue only bias [n] and residual [m, n] may be given; the residual may be c
//
// tolerant: the products of rounded factors are exact in f32, their sums within 2 k 2^-24 sum |a b|
// of the exact ones; numbers below 2^-126 count as 0. steady: the order of sums depends on the
// sizes and the instruction set alone
void multiply_bf16(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                   View<float, 2> c);
void multiply_bf16(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                   View<bf16, 2> c);

// Told which part of c is finished, rows [row_begin, row_end) and columns [column_begin,
// column_end), by the task that has just written it: what is then done with its values finds them
// in the task's cache. Parts do not overlap and may be told at once. It must not throw nor take a
// worker's scratch.
using FinishedPart =
    FunctionRef<void(i64 row_begin, i64 row_end, i64 column_begin, i64 column_end)>;

// The product again, with `finished` called for every part of c.
void multiply_bf16(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                   View<bf16, 2> c, FinishedPart finished);

// What the products above run with: "avx512bf16", or "f32" without the instruction (or when
// ORRERY_CPU forces a path that has none).
const char* multiply_bf16_path();

}  // namespace orrery
