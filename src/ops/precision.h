#pragma once

#include <string>

namespace orrery {

// What the weights of matrix products are stored as and what the products are taken in. Sums are
// always f32 (of int8 products s32, which is exact); what lies between products (norms, biases,
// activations, gates, residuals) is f32 too.
//
//   f32    no reduced precision anywhere: the mode of parity
//   tf32   both factors rounded to 11 significant bits
//   bf16   both factors rounded to 8 significant bits
//   int8   both factors rounded to -127..127 times a scale: one per row of x, one per output
//   fp8    the same with E4M3 (4 significant bits, largest 448) in place of integers
//
// A CPU knows f32, and bf16 in training. fp8 needs a CUDA device of compute capability 8.9 or
// later.
enum class Precision { f32, tf32, bf16, int8, fp8 };

const char* name_of(Precision precision);  // "bf16"
// error for a name that is none of these
Precision precision_from(const std::string& name);

}  // namespace orrery
