#include "ops/gemm.h"

#include "base/error.h"

namespace orrery {

namespace cpu {
std::size_t packed_bytes(i64 outputs, i64 inputs);
void pack_weight(Context& ctx, View<const float, 2> weight, float* panels);
void linear(Context& ctx, View<const float, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<float, 2> y);
void gemm(Context& ctx, View<const float, 2> a, View<const float, 2> b, const Epilogue& epilogue,
          View<float, 2> c);
}  // namespace cpu

PackedMatrix::PackedMatrix(Context& ctx, View<const float, 2> weight)
    : outputs_(weight.size(0)), inputs_(weight.size(1)) {
  check(outputs_ > 0 && inputs_ > 0, "matrix to pack has shape ", weight.shape(),
        ", both sizes must be positive");
  block_ = Block(cpu::packed_bytes(outputs_, inputs_));
  cpu::pack_weight(ctx, weight, reinterpret_cast<float*>(block_.data()));
}

void linear(Context& ctx, View<const float, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<float, 2> y) {
  check(x.size(1) == weight.inputs(), "linear: x has ", x.size(1), " columns, the weight takes ",
        weight.inputs());
  check(y.size(0) == x.size(0) && y.size(1) == weight.outputs(), "linear: y is ", y.shape(),
        ", needed (", x.size(0), ", ", weight.outputs(), ")");
  check(!epilogue.bias || epilogue.bias.size(0) == weight.outputs(), "linear: bias has ",
        epilogue.bias.size(0), " values, the weight gives ", weight.outputs());
  check(!epilogue.gate || epilogue.gate.sizes() == y.sizes(), "linear: gate is ",
        epilogue.gate.shape(), ", y is ", y.shape());
  check(!epilogue.residual || epilogue.residual.sizes() == y.sizes(), "linear: residual is ",
        epilogue.residual.shape(), ", y is ", y.shape());
  check(x.stride(1) == 1 && y.stride(1) == 1 && (!epilogue.gate || epilogue.gate.stride(1) == 1) &&
            (!epilogue.residual || epilogue.residual.stride(1) == 1),
        "linear: last dimensions must be contiguous");
  if (x.size(0) == 0) return;
  ORRERY_ON_CPU(ctx, linear, x, weight, epilogue, y);
}

void gemm(Context& ctx, View<const float, 2> a, View<const float, 2> b, bool accumulate,
          View<float, 2> c) {
  gemm(ctx, a, b, accumulate ? Epilogue{.residual = c} : Epilogue{}, c);
}

void gemm(Context& ctx, View<const float, 2> a, View<const float, 2> b, const Epilogue& epilogue,
          View<float, 2> c) {
  check(a.size(1) == b.size(0), "gemm: a is ", a.shape(), ", b is ", b.shape(),
        "; inner sizes must agree");
  check(c.size(0) == a.size(0) && c.size(1) == b.size(1), "gemm: c is ", c.shape(), ", needed (",
        a.size(0), ", ", b.size(1), ")");
  check(c.stride(1) == 1, "gemm: the last dimension of c must be contiguous");
  check(epilogue.activation == Activation::none && !epilogue.gate,
        "gemm: takes no activation and no gate");
  check(!epilogue.bias || epilogue.bias.size(0) == c.size(1), "gemm: bias has ",
        epilogue.bias.size(0), " values, c is ", c.shape());
  check(!epilogue.residual ||
            (epilogue.residual.sizes() == c.sizes() && epilogue.residual.stride(1) == 1),
        "gemm: residual is ", epilogue.residual.shape(), ", c is ", c.shape());
  if (c.numel() == 0) return;
  ORRERY_ON_CPU(ctx, gemm, a, b, epilogue, c);
}

}  // namespace orrery
