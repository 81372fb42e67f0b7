#pragma once

// One matrix product as its CUDA kernel gets it, and the launchers, one per precision.

#include <cstddef>

#include "base/bf16.h"
#include "ops/activation.h"
#include "ops/gemm_tiles.h"

namespace orrery::cuda {

// The longest rows that a block prepares and keeps (gemm_rows_device.h): 16 values a lane, beside
// which shift and scale still fit its registers.
inline constexpr int kLongestKept = 512;

// y [rows, outputs] = epilogue(x W^T). Strides of x and the weight in bytes, others in elements.
struct Product {
  int rows = 0, outputs = 0, inputs = 0;
  const std::byte* x = nullptr;  // values in the precision's format; floats when resident
  i64 x_stride = 0;
  bool x_aligned = false;  // rows of x begin at multiples of 16 bytes (resident: of 8)
  const std::byte* weight = nullptr;
  i64 weight_stride = 0;
  const float* weight_scales = nullptr;  // int8 and fp8
  const float* row_scales = nullptr;     // int8 and fp8 when x is not resident

  // resident: a norm, modulated or not; null gain: none
  const float* gain = nullptr;
  const float* norm_bias = nullptr;
  float eps = 0, bare_eps = 0;
  const float* shift = nullptr;
  const float* scale = nullptr;
  i64 shift_stride = 0, scale_stride = 0;

  const float* bias = nullptr;
  Activation activation = Activation::none;
  const float* gate = nullptr;
  i64 gate_stride = 0;
  const float* residual = nullptr;
  i64 residual_stride = 0;
  float* y = nullptr;  // one of the two
  bf16* y_bf16 = nullptr;
  i64 y_stride = 0;
  bool in_fours = false;  // everything above can be read and written in fours of columns

  int group_tiles = 1;  // tiles of columns per block
};

// Launches the kernel of kProductTiles[plan.tile]. `resident` as in ProductShape.
template <Precision kPrecision>
void run_product(const Context& ctx, const ProductPlan& plan, bool resident,
                 const Product& product);

}  // namespace orrery::cuda
