#pragma once

// Between multiply_bf16.cpp and the kernels; free of the toolkit's headers.

#include "ops/gemm.h"

namespace orrery::cuda {

// What a product of training does beside its epilogue: nothing; keep c and write its activation to
// `active`; or take c back through the activation of `wide`. c is then bf16.
struct Trained {
  Activation activation = Activation::none;
  View<bf16, 2> active;
  View<const bf16, 2> wide;
};

template <typename A, typename B, typename Out>
void multiply_bf16(Context& ctx, View<const A, 2> a, View<const B, 2> b, const Epilogue& epilogue,
                   const Trained& trained, View<Out, 2> c);

}  // namespace orrery::cuda
