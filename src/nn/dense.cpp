#include "nn/dense.h"

#include "base/error.h"
#include "ops/gemm.h"
#include "ops/multiply_bf16.h"
#include "ops/weight_gradient.h"

namespace orrery::nn {

namespace {

using Floats = View<const float, 2>;

void must_be_bf16(Precision precision) {
  check(precision == Precision::bf16, "dense: rows of bf16 came for products in ",
        name_of(precision));
}

// c = residual + a b + bias
void product(Context& ctx, Precision precision, const Rows& a, Floats b, const Epilogue& epilogue,
             View<float, 2> c) {
  if (precision == Precision::bf16) return multiply_bf16(ctx, a, b, epilogue, c);
  check(precision == Precision::f32, "dense: products in ", name_of(precision),
        " were asked for, training is in f32 or bf16");
  if (!std::holds_alternative<Floats>(a)) must_be_bf16(precision);
  gemm(ctx, std::get<Floats>(a), b, epilogue, c);
}

}  // namespace

void dense(Context& ctx, Precision precision, const Dense& layer, const Rows& x, View<float, 2> y,
           View<const float, 2> residual) {
  product(ctx, precision, x, layer.weight.transposed(), {.bias = layer.bias, .residual = residual},
          y);
}

void dense(Context& ctx, Precision precision, const Dense& layer, const Rows& x, View<bf16, 2> y) {
  must_be_bf16(precision);
  multiply_bf16(ctx, x, Floats(layer.weight.transposed()), {.bias = layer.bias}, y);
}

void dense_backward(Context& ctx, Precision precision, const Dense& layer, const Dense& gradient,
                    const Rows& x, const Rows& dy, View<float, 2> dx, bool accumulate_dx) {
  add_weight_gradient(ctx, precision, dy, x, gradient.weight, gradient.bias);
  if (dx) {
    const Epilogue added = accumulate_dx ? Epilogue{.residual = dx} : Epilogue{};
    product(ctx, precision, dy, layer.weight, added, dx);
  }
}

void dense_backward(Context& ctx, Precision precision, const Dense& layer, const Dense& gradient,
                    const Rows& x, const Rows& dy, View<bf16, 2> dx) {
  must_be_bf16(precision);
  add_weight_gradient(ctx, precision, dy, x, gradient.weight, gradient.bias);
  multiply_bf16(ctx, dy, Floats(layer.weight), {}, dx);
}

}  // namespace orrery::nn
