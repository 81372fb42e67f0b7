#pragma once

// What linear and norm_linear ask of their arguments.

#include "base/error.h"
#include "ops/gemm.h"

namespace orrery {

template <typename In, typename Out>
void check_linear(const Context& ctx, const char* name, View<const In, 2> x,
                  const PackedMatrix& weight, const Epilogue& epilogue, View<Out, 2> y) {
  check(x.size(1) == weight.inputs(), name, ": x has ", x.size(1), " columns, the weight takes ",
        weight.inputs());
  check(y.size(0) == x.size(0) && y.size(1) == weight.outputs(), name, ": y is ", y.shape(),
        ", needed (", x.size(0), ", ", weight.outputs(), ")");
  check(!epilogue.bias || epilogue.bias.size(0) == weight.outputs(), name, ": bias has ",
        epilogue.bias.size(0), " values, the weight gives ", weight.outputs());
  check(!epilogue.gate || epilogue.gate.sizes() == y.sizes(), name, ": gate is ",
        epilogue.gate.shape(), ", y is ", y.shape());
  check(!epilogue.residual || epilogue.residual.sizes() == y.sizes(), name, ": residual is ",
        epilogue.residual.shape(), ", y is ", y.shape());
  check(x.stride(1) == 1 && y.stride(1) == 1 && (!epilogue.gate || epilogue.gate.stride(1) == 1) &&
            (!epilogue.residual || epilogue.residual.stride(1) == 1),
        name, ": last dimensions must be contiguous");
  constexpr bool kAllFloat = std::is_same_v<In, float> && std::is_same_v<Out, float>;
  check(kAllFloat || ctx.device() != Device::cpu, name,
        ": rows of bf16 are for CUDA devices, this context is the CPU's");
}

}  // namespace orrery
