#pragma once

// What the kernels of attention share.

#include "ops/attention.h"
#include "ops/dropout.h"
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

// The backward pass. delta [batch, heads, queries]: the sum of dout * out, which is the mean of dp
// under p.
template <typename T>
struct AttentionBackward {
  View<const T, 4> q, k, v;
  float scale;
  bool causal;
  View<const T, 4> out;
  View<const float, 3> log_sum;
  View<const T, 4> dout;
  View<T, 4> dq, dk, dv;
  View<float, 3> delta;

  ORRERY_HD i64 pairs() const { return q.size(0) * q.size(2); }
  ORRERY_HD i64 dim() const { return q.size(3); }
  ORRERY_HD i64 seen(i64 t) const { return causal ? t + k.size(1) - q.size(1) + 1 : k.size(1); }
};
template <typename T>
bool in_pieces(const AttentionBackward<T>& pass, i64 values) {
  return in_pieces(pass.q, values) && in_pieces(pass.k, values) && in_pieces(pass.v, values) &&
         in_pieces(pass.dout, values) && in_pieces(pass.dq, values) && in_pieces(pass.dk, values) &&
         in_pieces(pass.dv, values);
}

// Both passes for at most kLongestWindow queries and keys, with dropout of the probabilities where
// its rate is not 0; out and log_sum are not needed: attention_window.cu
inline constexpr i64 kLongestWindow = 16;
void window_attention(Context& ctx, const Dropout& settings, const AttentionPass<float>& pass);
void window_attention_backward(Context& ctx, const Dropout& settings,
                               const AttentionBackward<float>& pass);

// fills pass.delta, in the context's scratch: attention_backward.cu
template <typename T>
void take_delta(Context& ctx, AttentionBackward<T>& pass);

__device__ inline float dot(const Four& a, const Four& b) {
  float sum = a.v[0] * b.v[0];
#pragma unroll
  for (int n = 1; n < 4; ++n) sum = fmaf(a.v[n], b.v[n], sum);
  return sum;
}

__device__ inline void add_weighted(const Four& from, float weight, Four& to) {
#pragma unroll
  for (int n = 0; n < 4; ++n) to.v[n] = fmaf(weight, from.v[n], to.v[n]);
}

__device__ inline void multiply(float factor, Four& four) {
#pragma unroll
  for (int n = 0; n < 4; ++n) four.v[n] *= factor;
}

// rows [first, first + kSize) of `count` rows to shared memory by kThreads threads, zeros where
// there is nothing
template <int kThreads, int kSize, int kDim, bool kAligned>
__device__ inline void load_floats(const PairRows<const float>& rows, i64 first, i64 count, i64 dim,
                                   float* tile) {
  constexpr int kFours = kDim / 4;
  for (int n = static_cast<int>(threadIdx.x); n < kSize * kFours; n += kThreads) {
    const int row = n / kFours, column = n % kFours * 4;
    Four four = {};
    if (first + row < count && column < dim) {
      four = load_four<kAligned>(rows[first + row] + column, dim - column);
    }
    // rows of kDim + 4: eight neighbouring rows lie in different banks
    store_four<true>(four, tile + row * (kDim + 4) + column, 4);
  }
}

// many queries on the tensor cores, floats rounded to bf16 on their way: attention_mma.cu
void attention_mma(Context& ctx, const AttentionPass<bf16>& pass);
void attention_mma(Context& ctx, const AttentionPass<float>& pass);

}  // namespace orrery::cuda
