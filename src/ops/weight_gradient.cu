#include "ops/weight_gradient.h"

#include "ops/gemm_columns_device.h"

namespace orrery::cuda {

void add_weight_gradient(Context& ctx, Precision precision, const Factor& dy, const Factor& x,
                         View<float, 2> dweight, View<float, 1> dbias) {
  const Epilogue epilogue{.residual = dweight};
  if (precision == Precision::f32) {
    using Floats = View<const float, 2>;
    return multiply_columns(ctx, std::get<Floats>(dy), std::get<Floats>(x), epilogue, dweight,
                            dbias);
  }
  std::visit([&](const auto& a,
                 const auto& b) { multiply_columns_bf16(ctx, a, b, epilogue, dweight, dbias); },
             dy, x);
}

}  // namespace orrery::cuda
