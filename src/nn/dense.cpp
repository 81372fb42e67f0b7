#include "nn/dense.h"

#include "base/error.h"
#include "ops/gemm.h"
#include "ops/multiply_bf16.h"
#include "ops/weight_gradient.h"

namespace orrery::nn {

namespace {

// c = residual + a b + bias
void product(Context& ctx, Precision precision, View<const float, 2> a, View<const float, 2> b,
             const Epilogue& epilogue, View<float, 2> c) {
  if (precision == Precision::bf16) return multiply_bf16(ctx, a, b, epilogue, c);
  check(precision == Precision::f32, "dense: products in ", name_of(precision),
        " were asked for, training is in f32 or bf16");
  gemm(ctx, a, b, epilogue, c);
}

View<const float, 2> transposed_weight(const Dense& layer) { return layer.weight.transposed(); }

void must_be_bf16(Precision precision) {
  check(precision == Precision::bf16, "dense: rows of bf16 came for products in ",
        name_of(precision));
}

}  // namespace

void dense(Context& ctx, Precision precision, const Dense& layer, View<const float, 2> x,
           View<float, 2> y, View<const float, 2> residual) {
  product(ctx, precision, x, layer.weight.transposed(), {.bias = layer.bias, .residual = residual},
          y);
}

void dense(Context& ctx, Precision precision, const Dense& layer, View<const float, 2> x,
           View<bf16, 2> y) {
  must_be_bf16(precision);
  multiply_bf16(ctx, x, transposed_weight(layer), {.bias = layer.bias}, y);
}

void dense(Context& ctx, Precision precision, const Dense& layer, View<const bf16, 2> x,
           View<float, 2> y, View<const float, 2> residual) {
  must_be_bf16(precision);
  multiply_bf16(ctx, x, transposed_weight(layer), {.bias = layer.bias, .residual = residual}, y);
}

void dense_backward(Context& ctx, Precision precision, const Dense& layer, const Dense& gradient,
                    View<const float, 2> x, View<const float, 2> dy, View<float, 2> dx,
                    bool accumulate_dx) {
  add_weight_gradient(ctx, precision, dy, x, gradient.weight, gradient.bias);
  if (dx) {
    const Epilogue added = accumulate_dx ? Epilogue{.residual = dx} : Epilogue{};
    product(ctx, precision, dy, layer.weight, added, dx);
  }
}

void dense_backward(Context& ctx, Precision precision, const Dense& layer, const Dense& gradient,
                    View<const float, 2> x, View<const bf16, 2> dy, View<float, 2> dx,
                    bool accumulate_dx) {
  must_be_bf16(precision);
  add_weight_gradient(ctx, precision, dy, x, gradient.weight, gradient.bias);
  const Epilogue added = accumulate_dx ? Epilogue{.residual = dx} : Epilogue{};
  multiply_bf16(ctx, dy, View<const float, 2>(layer.weight), added, dx);
}

void dense_backward(Context& ctx, Precision precision, const Dense& layer, const Dense& gradient,
                    View<const bf16, 2> x, View<const float, 2> dy, View<bf16, 2> dx) {
  must_be_bf16(precision);
  add_weight_gradient(ctx, precision, dy, x, gradient.weight, gradient.bias);
  multiply_bf16(ctx, dy, View<const float, 2>(layer.weight), {}, dx);
}

}  // namespace orrery::nn
