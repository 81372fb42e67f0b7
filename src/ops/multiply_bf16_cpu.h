#pragma once

// The kernels of multiply_bf16: which of them there are, and how they are called.

#include "ops/multiply_bf16.h"

namespace orrery::cpu {

// does this processor have what multiply_bf16_avx512 needs
bool has_avx512bf16();

// One of the two results is given; `finished` may be null.
struct Bf16Result {
  View<float, 2> floats;
  View<bf16, 2> halves;
  const FinishedPart* finished = nullptr;
};

// as checked by multiply_bf16
void multiply_bf16_avx512(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                          const Bf16Result& c);

}  // namespace orrery::cpu
