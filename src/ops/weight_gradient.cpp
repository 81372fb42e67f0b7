#include "ops/weight_gradient.h"

#include "base/error.h"
#include "ops/column_sums_bf16.h"
#include "ops/elementwise.h"
#include "ops/gemm.h"

namespace orrery {

namespace {

using Floats = View<const float, 2>;

}  // namespace

namespace cpu {

void add_weight_gradient(Context& ctx, Precision precision, const Factor& dy, const Factor& x,
                         View<float, 2> dweight, View<float, 1> dbias) {
  if (precision == Precision::bf16) {
    multiply_bf16(ctx, transposed(dy), x, {.residual = dweight}, dweight);
  } else {
    gemm(ctx, std::get<Floats>(dy).transposed(), std::get<Floats>(x), true, dweight);
  }
  if (dbias) std::visit([&](const auto& rows) { add_column_sums(ctx, rows, dbias); }, dy);
}

}  // namespace cpu

namespace cuda {
void add_weight_gradient(Context& ctx, Precision precision, const Factor& dy, const Factor& x,
                         View<float, 2> dweight, View<float, 1> dbias);
}  // namespace cuda

void add_weight_gradient(Context& ctx, Precision precision, const Factor& dy, const Factor& x,
                         View<float, 2> dweight, View<float, 1> dbias) {
  check(precision == Precision::bf16 || precision == Precision::f32,
        "add_weight_gradient: products in ", name_of(precision),
        " were asked for, training is in f32 or bf16");
  check(precision == Precision::bf16 ||
            (std::holds_alternative<Floats>(dy) && std::holds_alternative<Floats>(x)),
        "add_weight_gradient: rows of bf16 came for a product in f32");
  check(size_of(dy, 0) == size_of(x, 0), "add_weight_gradient: dy has ", size_of(dy, 0),
        " rows, x has ", size_of(x, 0));
  check(dweight.size(0) == size_of(dy, 1) && dweight.size(1) == size_of(x, 1) &&
            dweight.stride(1) == 1,
        "add_weight_gradient: dweight is ", dweight.shape(), ", needed (", size_of(dy, 1), ", ",
        size_of(x, 1), ") with contiguous rows");
  check(!dbias || (dbias.size(0) == size_of(dy, 1) && dbias.contiguous()),
        "add_weight_gradient: dbias has ", dbias.size(0), " values, dy ", size_of(dy, 1),
        " columns");
  const auto in_rows = [](const Factor& factor) {
    return std::visit([](const auto& view) { return view.stride(1) == 1; }, factor);
  };
  check(in_rows(dy) && in_rows(x), "add_weight_gradient: contiguous rows were needed");
  if (dweight.numel() == 0 || size_of(dy, 0) == 0) return;
  ORRERY_ON_DEVICE(ctx, add_weight_gradient, precision, dy, x, dweight, dbias);
}

}  // namespace orrery
