#include "ops/attention_bf16.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>

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

template <typename T>
bool takes_bf16(const Context& ctx, View<const T, 4> q, View<const T, 4> k) {
  // of a predictor's window
  constexpr i64 kFewTokens = 4;
  if (std::max(q.size(1), k.size(1)) <= kFewTokens) return false;
  return ctx.device() == Device::cuda || std::strcmp(multiply_bf16_path(), "avx512bf16") == 0;
}

template <typename T, typename... Views>
void check_like(View<const T, 4> like, const Views&... views) {
  const auto one = [&](const auto& view) {
    check(view.sizes() == like.sizes() && view.stride(3) == 1, "attention_bf16: a view is ",
          view.shape(), ", ", like.shape(), " with a contiguous last dimension was needed");
  };
  (one(views), ...);
}

template <typename T>
void check_all(const Context& ctx, View<const T, 4> q, View<const T, 4> k, View<const T, 4> v,
               bool causal, View<const T, 4> out, View<const float, 3> log_sum) {
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

// rows of bf16 where there is no kernel for them: contiguous floats, one after the other
class Widened {
 public:
  Widened(Context& ctx, std::initializer_list<View<const bf16, 4>> rows) : ctx_(ctx) {
    i64 values = 0;
    for (const auto& view : rows) values += view.numel();
    memory_ = reinterpret_cast<float*>(ctx.shared_scratch(
        static_cast<std::size_t>(values) * sizeof(float), Context::Slot::matrix));
  }
  View<float, 4> room(View<const bf16, 4> like) {
    const View<float, 4> place(memory_, like.sizes());
    memory_ += like.numel();
    return place;
  }
  View<float, 4> take(View<const bf16, 4> rows) {
    const View<float, 4> place = room(rows);
    move(rows, place);
    return place;
  }
  // rounds, or does not need to
  template <typename From, typename To>
  void move(View<From, 4> from, View<To, 4> to) {
    ctx_.parallel(from.size(0), [&](i64 b, int) {
      for (i64 t = 0; t < from.size(1); ++t) {
        for (i64 h = 0; h < from.size(2); ++h) {
          for (i64 d = 0; d < from.size(3); ++d) to(b, t, h, d) = To(from(b, t, h, d));
        }
      }
    });
  }

 private:
  Context& ctx_;
  float* memory_;
};

}  // namespace

void attention_bf16(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                    View<const float, 4> v, float scale, bool causal, View<float, 4> out,
                    View<float, 3> log_sum) {
  if (!takes_bf16(ctx, q, k)) return attention(ctx, q, k, v, scale, causal, out, log_sum);
  check_all<float>(ctx, q, k, v, causal, out, log_sum);
  if (q.size(1) == 0) return;
#if ORRERY_CUDA
  if (ctx.device() == Device::cuda) {
    return cuda::attention_bf16(ctx, q, k, v, scale, causal, out, log_sum);
  }
#endif
  cpu::attention_bf16<float>(ctx, {.q = q, .k = k, .v = v, .scale = scale, .causal = causal}, out,
                             log_sum);
}

void attention_bf16(Context& ctx, View<const bf16, 4> q, View<const bf16, 4> k,
                    View<const bf16, 4> v, float scale, bool causal, View<bf16, 4> out,
                    View<float, 3> log_sum) {
  if (ctx.device() == Device::cuda) {
    return attention(ctx, q, k, v, scale, causal, out, log_sum);
  }
  check_all<bf16>(ctx, q, k, v, causal, out, log_sum);
  if (q.size(1) == 0) return;
  if (takes_bf16(ctx, q, k)) {
    return cpu::attention_bf16<bf16>(
        ctx, {.q = q, .k = k, .v = v, .scale = scale, .causal = causal}, out, log_sum);
  }
  Widened rows(ctx, {q, k, v, out});
  const View<float, 4> wide = rows.room(out);
  attention(ctx, rows.take(q), rows.take(k), rows.take(v), scale, causal, wide, log_sum);
  rows.move(wide, out);
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
  check_all<float>(ctx, q, k, v, causal, out, log_sum);
  check_like(q, dout, dq);
  check_like(k, dk, dv);
#if ORRERY_CUDA
  if (ctx.device() == Device::cuda) {
    return cuda::attention_bf16_backward(ctx, q, k, v, scale, causal, out, log_sum, dout, dq, dk,
                                         dv);
  }
#endif
  cpu::attention_bf16_backward<float>(ctx,
                                      {.q = q, .k = k, .v = v, .scale = scale, .causal = causal},
                                      out, log_sum, dout, dq, dk, dv);
}

void attention_bf16_backward(Context& ctx, View<const bf16, 4> q, View<const bf16, 4> k,
                             View<const bf16, 4> v, float scale, bool causal,
                             View<const bf16, 4> out, View<const float, 3> log_sum,
                             View<const bf16, 4> dout, View<bf16, 4> dq, View<bf16, 4> dk,
                             View<bf16, 4> dv) {
  if (ctx.device() == Device::cuda) {
    return attention_backward(ctx, q, k, v, scale, causal, out, log_sum, dout, dq, dk, dv);
  }
  check(static_cast<bool>(log_sum), "attention_bf16_backward: log_sum was not given");
  check_all<bf16>(ctx, q, k, v, causal, out, log_sum);
  check_like(q, dout, dq);
  check_like(k, dk, dv);
  if (takes_bf16(ctx, q, k)) {
    return cpu::attention_bf16_backward<bf16>(
        ctx, {.q = q, .k = k, .v = v, .scale = scale, .causal = causal}, out, log_sum, dout, dq, dk,
        dv);
  }
  Widened rows(ctx, {q, k, v, out, dout, dq, dk, dv});
  const View<float, 4> wide_q = rows.room(dq), wide_k = rows.room(dk), wide_v = rows.room(dv);
  attention_backward(ctx, rows.take(q), rows.take(k), rows.take(v), scale, causal, rows.take(out),
                     log_sum, rows.take(dout), wide_q, wide_k, wide_v);
  rows.move(wide_q, dq);
  rows.move(wide_k, dk);
  rows.move(wide_v, dv);
}

}  // namespace orrery
