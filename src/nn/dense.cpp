#include "nn/dense.h"

#include "ops/elementwise.h"
#include "ops/gemm.h"

namespace orrery::nn {

void dense(Context& ctx, const Dense& layer, View<const float, 2> x, View<float, 2> y,
           View<const float, 2> residual) {
  const Epilogue epilogue{.bias = layer.bias, .residual = residual};
  gemm(ctx, x, layer.weight.transposed(), epilogue, y);
}

void dense_backward(Context& ctx, const Dense& layer, const Dense& gradient, View<const float, 2> x,
                    View<const float, 2> dy, View<float, 2> dx, bool accumulate_dx) {
  gemm(ctx, dy.transposed(), x, true, gradient.weight);
  if (gradient.bias) add_column_sums(ctx, dy, gradient.bias);
  if (dx) gemm(ctx, dy, layer.weight, accumulate_dx, dx);
}

}  // namespace orrery::nn
