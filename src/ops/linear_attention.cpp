#include "ops/linear_attention.h"

namespace orrery {

namespace cpu {
void linear_attention(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                      View<const float, 4> v, View<float, 4> out);
void linear_attention_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                               View<const float, 4> v, View<const float, 4> out,
                               View<const float, 4> dout, View<float, 4> dq, View<float, 4> dk,
                               View<float, 4> dv);
}  // namespace cpu

namespace {

void check_inputs(const char* op, View<const float, 4> q, View<const float, 4> k,
                  View<const float, 4> v) {
  const Shape keys = {q.size(0), k.size(1), q.size(2), q.size(3)};
  check(k.shape() == keys && v.shape() == keys, op, ": q is ", q.shape(), ", k ", k.shape(), ", v ",
        v.shape(),
        "; [batch, keys, heads, dim] with q's batch, heads and dim was needed for k and v");
  check(k.size(1) >= 1, op, ": there are no keys");
  check(q.stride(3) == 1 && k.stride(3) == 1 && v.stride(3) == 1, op,
        ": contiguous last dimensions were needed");
}

void check_like(const char* op, const char* name, View<const float, 4> view,
                View<const float, 4> like) {
  check(view.sizes() == like.sizes() && view.stride(3) == 1, op, ": ", name, " is ", view.shape(),
        ", ", like.shape(), " with a contiguous last dimension was needed");
}

}  // namespace

void linear_attention(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                      View<const float, 4> v, View<float, 4> out) {
  check_inputs("linear_attention", q, k, v);
  check_like("linear_attention", "out", out, q);
  ORRERY_ON_CPU(ctx, linear_attention, q, k, v, out);
}

void linear_attention_backward(Context& ctx, View<const float, 4> q, View<const float, 4> k,
                               View<const float, 4> v, View<const float, 4> out,
                               View<const float, 4> dout, View<float, 4> dq, View<float, 4> dk,
                               View<float, 4> dv) {
  const char* op = "linear_attention_backward";
  check_inputs(op, q, k, v);
  check_like(op, "out", out, q);
  check_like(op, "dout", dout, q);
  check_like(op, "dq", dq, q);
  check_like(op, "dk", dk, k);
  check_like(op, "dv", dv, v);
  ORRERY_ON_CPU(ctx, linear_attention_backward, q, k, v, out, dout, dq, dk, dv);
}

}  // namespace orrery
