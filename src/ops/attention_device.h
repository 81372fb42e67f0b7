#pragma once

// What the kernels of attention share.

#include "ops/attention.h"
#include "ops/warp_device.h"

namespace orrery::cuda {

// Rows of T (float or bf16); scores, weights and sums are float.
template <typename T>
struct AttentionPass {
  View<const T, 4> q, k, v;
  float scale;
  bool causal;
  View<T, 4> out;
  View<float, 3> log_sum;

  ORRERY_HD i64 pairs() const { return q.size(0) * q.size(2); }
  ORRERY_HD i64 dim() const { return q.size(3); }
  // keys that query t sees
  ORRERY_HD i64 seen(i64 t) const { return causal ? t + k.size(1) - q.size(1) + 1 : k.size(1); }
};

// one (batch, head) pair's rows: row t begins at data + t * stride
template <typename T>
struct PairRows {
  T* data;
  i64 stride;

  __device__ PairRows(View<T, 4> view, i64 b, i64 h)
      : data(view.data() + b * view.stride(0) + h * view.stride(2)), stride(view.stride(1)) {}
  __device__ T* operator[](i64 t) const { return data + t * stride; }
};

// whether every row can be taken in pieces of `values` elements, each at a multiple of its size
template <typename T>
bool in_pieces(View<T, 4> view, i64 values) {
  const i64 strides = view.stride(0) | view.stride(1) | view.stride(2) | view.size(3);
  const auto address = reinterpret_cast<std::size_t>(view.data());
  return strides % values == 0 && address % (static_cast<std::size_t>(values) * sizeof(T)) == 0;
}
template <typename T>
bool in_pieces(const AttentionPass<T>& pass, i64 values) {
  return in_pieces(pass.q, values) && in_pieces(pass.k, values) && in_pieces(pass.v, values) &&
         in_pieces(pass.out, values);
}

// many queries of bf16 rows on the tensor cores: attention_mma.cu
void attention_mma(Context& ctx, const AttentionPass<bf16>& pass);

}  // namespace orrery::cuda
