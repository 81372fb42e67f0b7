#include "ops/attention.h"

namespace orrery {

namespace cpu {
void attention(Context& ctx, View<const float, 4> q, View<const float, 4> k, View<const float, 4> v,
               float scale, bool causal, View<float, 4> out, View<float, 3> log_sum);
void attention_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                        View<const float, 4> v, float scale, bool causal, View<const float, 4> out,
                        View<const float, 3> log_sum, View<const float, 4> dout, View<float, 4> dq,
                        View<float, 4> dk, View<float, 4> dv);
}  // namespace cpu
namespace cuda {
void attention(Context& ctx, View<const float, 4> q, View<const float, 4> k, View<const float, 4> v,
               float scale, bool causal, View<float, 4> out, View<float, 3> log_sum);
void attention(Context& ctx, View<const bf16, 4> q, View<const bf16, 4> k, View<const bf16, 4> v,
               float scale, bool causal, View<bf16, 4> out, View<float, 3> log_sum);
void attention_backward(Context& ctx, View<const bf16, 4> q, View<const bf16, 4> k,
                        View<const bf16, 4> v, float scale, bool causal, View<const bf16, 4> out,
                        View<const float, 3> log_sum, View<const bf16, 4> dout, View<bf16, 4> dq,
                        View<bf16, 4> dk, View<bf16, 4> dv);
void attention_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                        View<const float, 4> v, float scale, bool causal, View<const float, 4> out,
                        View<const float, 3> log_sum, View<const float, 4> dout, View<float, 4> dq,
                        View<float, 4> dk, View<float, 4> dv);
}  // namespace cuda

namespace {

template <typename T>
void check_inputs(const char* op, View<const T, 4> q, View<const T, 4> k, View<const T, 4> v,
                  bool causal) {
  const Shape keys = {q.size(0), k.size(1), q.size(2), q.size(3)};
  check(k.shape() == keys && v.shape() == keys, op, ": q is ", q.shape(), ", k ", k.shape(), ", v ",
        v.shape(),
        "; [batch, keys, heads, dim] with q's batch, heads and dim was needed for k and v");
  check(k.size(1) >= 1, op, ": there are no keys");
  check(!causal || k.size(1) >= q.size(1), op, ": ", q.size(1), " causal queries were given ",
        k.size(1), " keys, at least as many were needed");
}

template <typename T, typename U>
void check_dense(const char* op, const char* name, View<T, 4> view, View<U, 4> like) {
  check(view.sizes() == like.sizes(), op, ": ", name, " is ", view.shape(), ", ", like.shape(),
        " was needed");
  check(view.stride(3) == 1, op, ": ", name, " needs a contiguous last dimension");
}

void check_width(const Context& ctx, const char* op, i64 width) {
  // a row is at most one warp's registers
  constexpr i64 kWidest = 128;
  check(ctx.device() == Device::cpu || width <= kWidest, op, ": heads have ", width,
        " values, on a CUDA device at most ", kWidest, " are supported");
}

template <typename T>
void check_attention(const Context& ctx, View<const T, 4> q, View<const T, 4> k, View<const T, 4> v,
                     bool causal, View<T, 4> out) {
  check_inputs("attention", q, k, v, causal);
  check_dense("attention", "q", q, q);
  check_dense("attention", "k", k, k);
  check_dense("attention", "v", v, v);
  check_dense("attention", "out", out, q);
  check_width(ctx, "attention", q.size(3));
}

template <typename T>
void check_log_sum(const char* op, View<const float, 3> log_sum, View<const T, 4> q) {
  const Shape needed = {q.size(0), q.size(2), q.size(1)};
  check(log_sum.shape() == needed, op, ": log_sum is ", log_sum.shape(),
        ", [batch, heads, queries] = ", needed, " was needed");
}

}  // namespace

void attention(Context& ctx, View<const float, 4> q, View<const float, 4> k, View<const float, 4> v,
               float scale, bool causal, View<float, 4> out, View<float, 3> log_sum) {
  check_attention(ctx, q, k, v, causal, out);
  if (log_sum) check_log_sum("attention", log_sum, q);
  ORRERY_ON_DEVICE(ctx, attention, q, k, v, scale, causal, out, log_sum);
}

namespace {

void must_be_cuda([[maybe_unused]] const Context& ctx) {
  check(ctx.device() == Device::cuda,
        "attention: rows of bf16 are taken on a CUDA device only, this context is the CPU's");
}

}  // namespace

void attention(Context& ctx, View<const bf16, 4> q, View<const bf16, 4> k, View<const bf16, 4> v,
               [[maybe_unused]] float scale, bool causal, View<bf16, 4> out,
               View<float, 3> log_sum) {
  check_attention(ctx, q, k, v, causal, out);
  if (log_sum) check_log_sum("attention", log_sum, q);
  must_be_cuda(ctx);
#if ORRERY_CUDA
  cuda::attention(ctx, q, k, v, scale, causal, out, log_sum);
#endif
}

namespace {

template <typename T>
void check_backward(const Context& ctx, View<const T, 4> q, View<const T, 4> k, View<const T, 4> v,
                    bool causal, View<const T, 4> out, View<const float, 3> log_sum,
                    View<const T, 4> dout, View<T, 4> dq, View<T, 4> dk, View<T, 4> dv) {
  constexpr const char* kName = "attention_backward";
  check_inputs(kName, q, k, v, causal);
  check_width(ctx, kName, q.size(3));
  check_dense(kName, "q", q, q);
  check_dense(kName, "k", k, k);
  check_dense(kName, "v", v, v);
  check_dense(kName, "out", out, q);
  check_dense(kName, "dout", dout, q);
  check_dense(kName, "dq", dq, q);
  check_dense(kName, "dk", dk, k);
  check_dense(kName, "dv", dv, k);
  check_log_sum(kName, log_sum, q);
}

}  // namespace

void attention_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                        View<const float, 4> v, float scale, bool causal, View<const float, 4> out,
                        View<const float, 3> log_sum, View<const float, 4> dout, View<float, 4> dq,
                        View<float, 4> dk, View<float, 4> dv) {
  check_backward(ctx, q, k, v, causal, out, log_sum, dout, dq, dk, dv);
  ORRERY_ON_DEVICE(ctx, attention_backward, q, k, v, scale, causal, out, log_sum, dout, dq, dk, dv);
}

void attention_backward(Context& ctx, View<const bf16, 4> q, View<const bf16, 4> k,
                        View<const bf16, 4> v, [[maybe_unused]] float scale, bool causal,
                        View<const bf16, 4> out, View<const float, 3> log_sum,
                        View<const bf16, 4> dout, View<bf16, 4> dq, View<bf16, 4> dk,
                        View<bf16, 4> dv) {
  check_backward(ctx, q, k, v, causal, out, log_sum, dout, dq, dk, dv);
  check(log_sum.contiguous(), "attention_backward: log_sum must be contiguous");
  must_be_cuda(ctx);
#if ORRERY_CUDA
  cuda::attention_backward(ctx, q, k, v, scale, causal, out, log_sum, dout, dq, dk, dv);
#endif
}

}  // namespace orrery
