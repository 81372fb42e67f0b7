#include "ops/attention_bf16.h"

#include <algorithm>
#include <cstring>

#include "ops/attention.h"
#include "ops/attention_bf16_cpu.h"
#include "ops/multiply_bf16.h"

namespace orrery {

namespace cuda {
void attention_bf16(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                    View<const float, 4> v, float scale, bool causal, View<float, 4> out,
                    View<float, 3> log_sum);
void attention_bf16_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                             View<const float, 4> v, float scale, bool causal,
                             View<const float, 4> out, View<const float, 3> log_sum,
                             View<const float, 4> dout, View<float, 4> dq, View<float, 4> dk,
                             View<float, 4> dv);
}  // namespace cuda

namespace {

bool takes_bf16(const Context& ctx, View<const float, 4> q, View<const float, 4> k) {
  // of a predictor's window
  constexpr i64 kFewTokens = 4;
  if (std::max(q.size(1), k.size(1)) <= kFewTokens) return false;
  return ctx.device() == Device::cuda || std::strcmp(multiply_bf16_path(), "avx512bf16") == 0;
}

template <typename... Views>
void check_like(View<const float, 4> like, const Views&... views) {
  const auto one = [&](const auto& view) {
    check(view.sizes() == like.sizes() && view.stride(3) == 1, "attention_bf16: a view is ",
          view.shape(), ", ", like.shape(), " with a contiguous last dimension was needed");
  };
  (one(views), ...);
}

void check_all(const Context& ctx, View<const float, 4> q, View<const float, 4> k,
               View<const float, 4> v, bool causal, View<const float, 4> out,
               View<const float, 3> log_sum) {
  const Shape keys = {q.size(0), k.size(1), q.size(2), q.size(3)};
  check(k.shape() == keys && k.size(1) >= 1, "attention_bf16: q is ", q.shape(), ", k ", k.shape(),
        "; [batch, keys, heads, dim] with q's batch, heads and dim was needed");
  check(!causal || k.size(1) >= q.size(1), "attention_bf16: ", q.size(1),
        " causal queries were given ", k.size(1), " keys, at least as many were needed");
  check_like(q, q, out);
  check_like(k, k, v);
  constexpr i64 kWidest = 128;
  check(ctx.device() == Device::cpu || q.size(3) <= kWidest, "attention_bf16: heads have ",
        q.size(3), " values, on a CUDA device at most ", kWidest, " are supported");
  const Shape sums = {q.size(0), q.size(2), q.size(1)};
  check(!log_sum || (log_sum.shape() == sums && log_sum.contiguous()),
        "attention_bf16: log_sum is ", log_sum.shape(), ", ", sums, " contiguous was needed");
}

}  // namespace

void attention_bf16(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                    View<const float, 4> v, float scale, bool causal, View<float, 4> out,
                    View<float, 3> log_sum) {
  if (!takes_bf16(ctx, q, k)) return attention(ctx, q, k, v, scale, causal, out, log_sum);
  check_all(ctx, q, k, v, causal, out, log_sum);
  if (q.size(1) == 0) return;
#if ORRERY_CUDA
  if (ctx.device() == Device::cuda) {
    return cuda::attention_bf16(ctx, q, k, v, scale, causal, out, log_sum);
  }
#endif
  cpu::attention_bf16(ctx, {.q = q, .k = k, .v = v, .scale = scale, .causal = causal}, out,
                      log_sum);
}

void attention_bf16_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                             View<const float, 4> v, float scale, bool causal,
                             View<const float, 4> out, View<const float, 3> log_sum,
                             View<const float, 4> dout, View<float, 4> dq, View<float, 4> dk,
                             View<float, 4> dv) {
  if (!takes_bf16(ctx, q, k)) {
    return attention_backward(ctx, q, k, v, scale, causal, out, log_sum, dout, dq, dk, dv);
  }
  check(static_cast<bool>(log_sum), "attention_bf16_backward: log_sum was not given");
  check_all(ctx, q, k, v, causal, out, log_sum);
  check_like(q, dout, dq);
  check_like(k, dk, dv);
#if ORRERY_CUDA
  if (ctx.device() == Device::cuda) {
    return cuda::attention_bf16_backward(ctx, q, k, v, scale, causal, out, log_sum, dout, dq, dk,
                                         dv);
  }
#endif
  cpu::attention_bf16_backward(ctx, {.q = q, .k = k, .v = v, .scale = scale, .causal = causal}, out,
                               log_sum, dout, dq, dk, dv);
}

}  // namespace orrery
