#pragma once

#include "ops/gemm.h"

namespace orrery {

// A layer norm, with adaptive modulation (modulate.h) before it when shift and scale are given:
//   n = x                                                      without
//   n = bare_norm(x, bare_eps) * (1 + scale) + shift           with
//   norm(x) = layer_norm(n, gain, bias, eps)
struct RowNorm {
  View<const float, 1> gain, bias;  // [inputs]
  float eps = 1e-5f;
  View<const float, 2> shift, scale;  // [rows, inputs], any row stride; both or neither
  float bare_eps = 1e-6f;
};

// y = epilogue(norm(x) W^T): what stands before most products of a transformer. On CUDA, up to 512
// inputs, norm and rounding are one pass, in the product's own kernel where that is estimated
// faster.
//
//   x        [rows, inputs]    last dimension contiguous
//   normed   [rows, inputs]    contiguous, not x: scratch. Holds norm(x) afterwards where the
//   kernel
//                              does not fuse, else what it held
//   y        [rows, outputs]   last dimension contiguous; overlaps neither x, normed nor the norm
//
// tolerant and steady as layer_norm, modulate and linear, which it equals bit for bit on the CPU
void norm_linear(Context& ctx, View<const float, 2> x, const RowNorm& norm,
                 const PackedMatrix& weight, const Epilogue& epilogue, View<float, 2> normed,
                 View<float, 2> y);
void norm_linear(Context& ctx, View<const float, 2> x, const RowNorm& norm,
                 const PackedMatrix& weight, const Epilogue& epilogue, View<float, 2> normed,
                 View<bf16, 2> y);

}  // namespace orrery
