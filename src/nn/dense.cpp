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

}  // namespace

void dense(Context& ctx, Precision precision, const Dense& layer, View<const float, 2> x,
           View<float, 2> y, View<const float, 2> residual) {
  product(ctx, precision, x, layer.weight.transposed(), {.bias = layer.bias, .residual = residual},
          y);
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

}  // namespace orrery::nn
