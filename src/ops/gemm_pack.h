#pragma once

#include <cstddef>
#include <vector>

#include "ops/precision.h"
#include "tensor/view.h"

namespace orrery {

// A weight [outputs, inputs] as CUDA kernels want it, still in the host's memory.
struct PackedRows {
  i64 row_bytes = 0;            // a multiple of 16
  std::vector<std::byte> rows;  // [outputs, row_bytes], zeros after the inputs
  std::vector<float> scales;    // [outputs] for int8 and fp8, else empty
};

// f32 as it is; tf32 and bf16 rounded to nearest (tf32 ties away from zero, as the device's own
// conversion does; bf16 ties to even); int8 and fp8 by quantize_rows. exact
PackedRows pack_rows(View<const float, 2> weight, Precision precision);

// of one value
constexpr i64 value_bytes(Precision precision) {
  if (precision == Precision::f32 || precision == Precision::tf32) return 4;
  return precision == Precision::bf16 ? 2 : 1;
}

}  // namespace orrery
