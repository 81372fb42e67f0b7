#pragma once

#include "device/context.h"
#include "device/memory.h"
#include "ops/activation.h"
#include "tensor/view.h"

namespace orrery {

// A weight matrix [outputs, inputs] rearranged once for this CPU's matrix kernel: panels of
// consecutive outputs, inputs innermost. Constant after packing; shared by all threads.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  PackedMatrix(Context& ctx, View<const float, 2> weight);

  i64 outputs() const { return outputs_; }
  i64 inputs() const { return inputs_; }
  const float* panels() const { return reinterpret_cast<const float*>(block_.data()); }
  explicit operator bool() const { return outputs_ > 0; }

 private:
  i64 outputs_ = 0;
  i64 inputs_ = 0;
  Block block_;
};

// What happens to a row of x W^T before it is stored, in this order; empty views are left out:
//   v = x W^T + bias;  v = activation(v);  v = gate * v;  v = residual + v
struct Epilogue {
  View<const float, 1> bias;  // [outputs]
  Activation activation = Activation::none;
  View<const float, 2> gate;      // [rows, outputs]
  View<const float, 2> residual;  // [rows, outputs]; may be y itself
};

// y = epilogue(x W^T)
//
//   x   [rows, inputs]    last dimension contiguous
//   y   [rows, outputs]   last dimension contiguous; not x
//
// tolerant: f32 fused multiply-adds in blocks of inputs; error below 2 * sqrt(inputs) * 2^-24 * sum
// |x w| steady: the order of sums depends on the CPU's kernel and the sizes, never on the number of
// threads
void linear(Context& ctx, View<const float, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<float, 2> y);

// c = a b, or c += a b when accumulate
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
