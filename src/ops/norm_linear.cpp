#include "ops/norm_linear.h"

#include "base/error.h"
#include "ops/gemm_check.h"
#include "ops/layer_norm.h"
#include "ops/modulate.h"

namespace orrery {

namespace cuda {
// false: these sizes have no fused kernel
template <typename Out>
bool norm_linear(Context& ctx, View<const float, 2> x, const RowNorm& norm,
                 const PackedMatrix& weight, const Epilogue& epilogue, View<Out, 2> y);
}  // namespace cuda

namespace {

// rows as one batch of tokens
template <typename T>
View<T, 3> as_tokens(View<T, 2> rows) {
  return View<T, 3>(rows.data(), {1, rows.size(0), rows.size(1)}, {0, rows.stride(0), 1});
}

template <typename Out>
void checked(Context& ctx, View<const float, 2> x, const RowNorm& norm, const PackedMatrix& weight,
             const Epilogue& epilogue, View<float, 2> normed, View<Out, 2> y) {
  check_linear(ctx, "norm_linear", x, weight, epilogue, y);
  check(norm.gain.size(0) == x.size(1) && norm.bias.size(0) == x.size(1), "norm_linear: gain has ",
        norm.gain.size(0), " values, bias ", norm.bias.size(0), ", rows have ", x.size(1));
  check(static_cast<bool>(norm.shift) == static_cast<bool>(norm.scale),
        "norm_linear: of shift and scale one is given, both or neither are needed");
  check(!norm.shift || (norm.shift.sizes() == x.sizes() && norm.scale.sizes() == x.sizes()),
        "norm_linear: shift is ", norm.shift.shape(), ", scale ", norm.scale.shape(), ", x is ",
        x.shape());
  check(!norm.shift || (norm.shift.stride(1) == 1 && norm.scale.stride(1) == 1),
        "norm_linear: last dimensions of shift and scale must be contiguous");
  check(normed.sizes() == x.sizes() && normed.contiguous(), "norm_linear: normed is ",
        normed.shape(), ", needed ", x.shape(), ", contiguous");
  if (x.size(0) == 0) return;
#if ORRERY_CUDA
  if (ctx.device() == Device::cuda && cuda::norm_linear(ctx, x, norm, weight, epilogue, y)) return;
#endif

  if (norm.shift) {
    layer_norm(ctx, x, {}, {}, norm.bare_eps, normed);
    modulate(ctx, as_tokens(View<const float, 2>(normed)), as_tokens(norm.shift),
             as_tokens(norm.scale), as_tokens(normed));
    layer_norm(ctx, normed, norm.gain, norm.bias, norm.eps, normed);
  } else {
    layer_norm(ctx, x, norm.gain, norm.bias, norm.eps, normed);
  }
  linear(ctx, normed, weight, epilogue, y);
}

}  // namespace

void norm_linear(Context& ctx, View<const float, 2> x, const RowNorm& norm,
                 const PackedMatrix& weight, const Epilogue& epilogue, View<float, 2> normed,
                 View<float, 2> y) {
  checked(ctx, x, norm, weight, epilogue, normed, y);
}

void norm_linear(Context& ctx, View<const float, 2> x, const RowNorm& norm,
                 const PackedMatrix& weight, const Epilogue& epilogue, View<float, 2> normed,
                 View<bf16, 2> y) {
  checked(ctx, x, norm, weight, epilogue, normed, y);
}

}  // namespace orrery
