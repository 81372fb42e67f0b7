#pragma once

// One matrix product as its CUDA kernel gets it, and the launchers, one per precision.

#include <cstddef>

#include "base/bf16.h"
#include "ops/activation.h"
#include "ops/gemm_tiles.h"

namespace orrery::cuda {

// y [rows, outputs] = epilogue(x W^T). Strides of x and the weight in bytes, others in elements.
struct Product {
  int rows = 0, outputs = 0, inputs = 0;
  const std::byte* x = nullptr;  // values in the precision's format; floats to be prepared
  i64 x_stride = 0;
  bool x_aligned = false;  // rows of x begin at multiples of 16 bytes (floats: all rows that
                           // preparing reads, of 8)
  const std::byte* weight = nullptr;
  i64 weight_stride = 0;
  const float* weight_scales = nullptr;  // int8 and fp8
  const float* row_scales = nullptr;     // int8 and fp8, of rows that are ready

  // preparing: a norm, modulated or not; null gain: none
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

  // Training in bf16, last: y gets what an activation is given and `active` what it makes of it; or
  // slopes go back through it, times its slope where it was given `wide`.
  Activation trained = Activation::none;
  bf16* active = nullptr;
  i64 active_stride = 0;
  const bf16* wide = nullptr;
  i64 wide_stride = 0;

  bool in_fours = false;  // everything above can be read and written in fours of columns

  int group_tiles = 1;  // tiles of columns per block

  // the emulation of tests looks where these point
  template <typename Visit>
  void each_pointer(Visit visit) const {
    for (const void* pointer :
         {static_cast<const void*>(x), static_cast<const void*>(weight),
          static_cast<const void*>(weight_scales), static_cast<const void*>(row_scales),
          static_cast<const void*>(gain), static_cast<const void*>(norm_bias),
          static_cast<const void*>(shift), static_cast<const void*>(scale),
          static_cast<const void*>(bias), static_cast<const void*>(gate),
          static_cast<const void*>(residual), static_cast<const void*>(y),
          static_cast<const void*>(y_bf16), static_cast<const void*>(active),
          static_cast<const void*>(wide)}) {
      visit(pointer);
    }
  }
};

// Launches the kernel of kProductTiles[plan.tile].
template <Precision kPrecision>
void run_product(const Context& ctx, const ProductPlan& plan, const Product& product);

// Prepares the rows of x as blocks that keep theirs would, to memory: codes or values of the format
// [rows, stride bytes] and, for int8 and fp8, scales.
struct PreparedRows {
  std::byte* values = nullptr;
  i64 stride = 0;  // a multiple of 16
  float* scales = nullptr;
};
template <Precision kPrecision>
void run_prepare(const Context& ctx, const Product& product, const PreparedRows& to);

}  // namespace orrery::cuda
