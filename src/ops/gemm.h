#pragma once

#include "base/bf16.h"
#include "device/context.h"
#include "device/memory.h"
#include "ops/activation.h"
#include "ops/precision.h"
#include "tensor/view.h"

namespace orrery {

// A weight matrix [outputs, inputs] rearranged once for the matrix kernels of where it is used, and
// there. Constant after packing; shared by all threads.
//
//   CPU     panels of consecutive outputs, inputs innermost; f32 only
//   CUDA    rows of outputs in the format of the precision, each a multiple of 16 bytes with zeros
//           after the inputs; for int8 and fp8 a scale per row beside them
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // `weight` is the host's memory, on every context. Returns when the matrix is where it is used.
  PackedMatrix(Context& ctx, View<const float, 2> weight, Precision precision = Precision::f32);

  i64 outputs() const { return outputs_; }
  i64 inputs() const { return inputs_; }
  Precision precision() const { return precision_; }
  explicit operator bool() const { return outputs_ > 0; }

  // for kernels
  const float* panels() const { return reinterpret_cast<const float*>(block_.data()); }
  const std::byte* rows() const { return block_.data(); }
  i64 row_bytes() const { return row_bytes_; }
  const float* scales() const { return reinterpret_cast<const float*>(scales_.data()); }

 private:
  i64 outputs_ = 0;
  i64 inputs_ = 0;
  Precision precision_ = Precision::f32;
  i64 row_bytes_ = 0;
  Block block_;
  Block scales_;
};

// What happens to a row of x W^T before it is stored, in this order; empty views are left out:
//   v = x W^T + bias;  v = activation(v);  v = gate * v;  v = residual + v
// Always in f32; a result in bf16 is rounded once, last.
struct Epilogue {
  View<const float, 1> bias;  // [outputs]
  Activation activation = Activation::none;
  View<const float, 2> gate;      // [rows, outputs]
  View<const float, 2> residual;  // [rows, outputs]; may be y itself
};

// y = epilogue(x W^T)
//
//   x   [rows, inputs]    last dimension contiguous; bf16 on CUDA only
//   y   [rows, outputs]   last dimension contiguous; not x; bf16 on CUDA only
//
// tolerant: sums of f32 fused multiply-adds in blocks of inputs. With both factors rounded to the
// precision of the weight (int8 and fp8: x by quantize_rows.h) the error before the activation is
// below 2 * sqrt(inputs) * 2^-24 * sum |x w|; tensor cores, which cut sums short where the CPU
// rounds them, stay below inputs * 2^-23 * sum |x w|; those of fp8's warpgroup products, which keep
// 13 bits behind the point of the largest number they add, below 2^-11 sum |x w| more. GELU in
// precisions other than f32 is within 4e-7 |v|. steady: the order of sums depends on the kernel and
// the sizes, never on the number of threads
//
// On CUDA rows that begin at multiples of 16 bytes are read fastest; others give the same.
void linear(Context& ctx, View<const float, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<float, 2> y);
void linear(Context& ctx, View<const float, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<bf16, 2> y);
void linear(Context& ctx, View<const bf16, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<float, 2> y);
void linear(Context& ctx, View<const bf16, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<bf16, 2> y);

// c = a b, or c += a b when accumulate.
//
//   a   [m, k]   any strides: a transposed() view costs nothing extra
//   b   [k, n]   any strides
//   c   [m, n]   last dimension contiguous; overlaps neither
//
// tolerant and steady as above
void gemm(Context& ctx, View<const float, 2> a, View<const float, 2> b, bool accumulate,
          View<float, 2> c);

// c = residual + a b + bias, for weights that change too often to be packed ahead. Of the epilogue
// only these two may be given; the residual may be c.
void gemm(Context& ctx, View<const float, 2> a, View<const float, 2> b, const Epilogue& epilogue,
          View<float, 2> c);

}  // namespace orrery
