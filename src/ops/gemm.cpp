#include "ops/gemm.h"

#include "base/error.h"
#include "ops/gemm_check.h"
#include "ops/gemm_pack.h"

namespace orrery {

namespace cpu {
std::size_t packed_bytes(i64 outputs, i64 inputs);
void pack_weight(Context& ctx, View<const float, 2> weight, float* panels);
void linear(Context& ctx, View<const float, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<float, 2> y);
void gemm(Context& ctx, View<const float, 2> a, View<const float, 2> b, const Epilogue& epilogue,
          View<float, 2> c);
}  // namespace cpu

namespace cuda {
// error where the device has no products of it
void check_precision(const Context& ctx, Precision precision);
template <typename In, typename Out>
void linear(Context& ctx, View<const In, 2> x, const PackedMatrix& weight, const Epilogue& epilogue,
            View<Out, 2> y);
void gemm(Context& ctx, View<const float, 2> a, View<const float, 2> b, const Epilogue& epilogue,
          View<float, 2> c);
}  // namespace cuda

namespace {

template <typename In, typename Out>
void checked_linear(Context& ctx, View<const In, 2> x, const PackedMatrix& weight,
                    const Epilogue& epilogue, View<Out, 2> y) {
  check_linear(ctx, "linear", x, weight, epilogue, y);
  if (x.size(0) == 0) return;
#if ORRERY_CUDA
  if (ctx.device() == Device::cuda) return cuda::linear(ctx, x, weight, epilogue, y);
#endif
  // the check above leaves only rows of floats here
  if constexpr (std::is_same_v<In, float> && std::is_same_v<Out, float>) {
    cpu::linear(ctx, x, weight, epilogue, y);
  }
}

}  // namespace

PackedMatrix::PackedMatrix(Context& ctx, View<const float, 2> weight, Precision precision)
    : outputs_(weight.size(0)), inputs_(weight.size(1)), precision_(precision) {
  check(outputs_ > 0 && inputs_ > 0, "matrix to pack has shape ", weight.shape(),
        ", both sizes must be positive");
#if ORRERY_CUDA
  if (ctx.device() == Device::cuda) {
    cuda::check_precision(ctx, precision);
    const PackedRows packed = pack_rows(weight, precision);
    row_bytes_ = packed.row_bytes;
    block_ = Block(ctx, packed.rows.size());
    ctx.upload(block_.data(), packed.rows.data(), packed.rows.size());
    if (!packed.scales.empty()) {
      const std::size_t bytes = packed.scales.size() * sizeof(float);
      scales_ = Block(ctx, bytes);
      ctx.upload(scales_.data(), packed.scales.data(), bytes);
    }
    ctx.synchronize();  // the host's copy goes now
    return;
  }
#endif
  check(precision == Precision::f32, "matrix to pack: ", name_of(precision),
        " was asked for, a CPU knows f32");
  block_ = Block(cpu::packed_bytes(outputs_, inputs_));
  cpu::pack_weight(ctx, weight, reinterpret_cast<float*>(block_.data()));
}

void linear(Context& ctx, View<const float, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<float, 2> y) {
  checked_linear(ctx, x, weight, epilogue, y);
}
void linear(Context& ctx, View<const float, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<bf16, 2> y) {
  checked_linear(ctx, x, weight, epilogue, y);
}
void linear(Context& ctx, View<const bf16, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<float, 2> y) {
  checked_linear(ctx, x, weight, epilogue, y);
}
void linear(Context& ctx, View<const bf16, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<bf16, 2> y) {
  checked_linear(ctx, x, weight, epilogue, y);
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
  ORRERY_ON_DEVICE(ctx, gemm, a, b, epilogue, c);
}

}  // namespace orrery
