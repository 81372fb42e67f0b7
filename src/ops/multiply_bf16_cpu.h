#pragma once

// The kernels of multiply_bf16: which of them there are, and how they are called.

#include "base/function_ref.h"
#include "ops/multiply_bf16.h"

namespace orrery::cpu {

// does this processor have what multiply_bf16_avx512 needs
bool has_avx512bf16();

// Told which part of c is finished, rows [row_begin, row_end) and columns [column_begin,
// column_end), by the task that has just written it: what is then done with its values finds them
// in the task's cache. Parts do not overlap and may be told at once. It must not throw nor take a
// worker's scratch.
using FinishedPart =
    FunctionRef<void(i64 row_begin, i64 row_end, i64 column_begin, i64 column_end)>;

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
