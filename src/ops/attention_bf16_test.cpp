#include "ops/attention_bf16.h"

#include <cstring>

#include "base/bf16.h"
#include "base/text.h"
#include "ops/attention_ref.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

struct Case {
  i64 batch, queries, keys, heads, dim;
  bool causal;
};
// encoder shapes, every remainder of rows, pairs and vectors, several blocks of queries, few tokens
constexpr Case kCases[] = {
    {2, 17, 17, 3, 32, false}, {2, 65, 65, 2, 32, false}, {1, 33, 48, 1, 24, true},
    {1, 1, 31, 2, 15, false},  {1, 64, 15, 1, 17, false}, {1, 130, 257, 1, 64, true},
    {1, 97, 97, 2, 5, false},  {2, 5, 80, 1, 1, true},    {3, 3, 3, 4, 64, true},
    {1, 6, 70, 1, 128, false}, {1, 70, 70, 1, 100, true}, {1, 2, 257, 2, 64, false}};

struct Pass {
  Case c;
  std::vector<float> q, k, v, dout, out, log_sum, dq, dk, dv;

  explicit Pass(const Case& case_)
      : c(case_),
        q(rounded(c.queries, 1)),
        k(rounded(c.keys, 2)),
        v(rounded(c.keys, 3)),
        dout(rounded(c.queries, 4)),
        out(q.size()),
        log_sum(static_cast<std::size_t>(c.batch * c.heads * c.queries)),
        dq(q.size()),
        dk(k.size()),
        dv(k.size()) {}

  // values that rounding to bf16 leaves as they are
  std::vector<float> rounded(i64 tokens, u64 seed) const {
    auto values = random_values<float>(c.batch * tokens * c.heads * c.dim, seed);
    for (float& value : values) value = bf16(value);
    return values;
  }
  View<float, 4> rows(std::vector<float>& values, i64 tokens) const {
    return View<float, 4>(values.data(), {c.batch, tokens, c.heads, c.dim});
  }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(c.dim)); }

  // all that is given to the forward and the backward pass, where a context works
  void run(Context& ctx) {
    Buffer<float> q_there(ctx, q), k_there(ctx, k), v_there(ctx, v), dout_there(ctx, dout),
        out_there(ctx, out), sums_there(ctx, log_sum), dq_there(ctx, dq), dk_there(ctx, dk),
        dv_there(ctx, dv);
    const auto at = [&](Buffer<float>& rows, i64 tokens) {
      return rows.view<4>({c.batch, tokens, c.heads, c.dim});
    };
    const auto sums = sums_there.view<3>({c.batch, c.heads, c.queries});
    const auto Q = at(q_there, c.queries), K = at(k_there, c.keys), V = at(v_there, c.keys);
    attention_bf16(ctx, Q, K, V, scale(), c.causal, at(out_there, c.queries), sums);
    attention_bf16_backward(ctx, Q, K, V, scale(), c.causal, at(out_there, c.queries), sums,
                            at(dout_there, c.queries), at(dq_there, c.queries),
                            at(dk_there, c.keys), at(dv_there, c.keys));
    out = out_there.values();
    log_sum = sums_there.values();
    dq = dq_there.values();
    dk = dk_there.values();
    dv = dv_there.values();
  }
  // the reference
  template <typename Forward, typename Backward>
  void run(const Forward& forward, const Backward& backward) {
    const View<float, 3> sums(log_sum.data(), {c.batch, c.heads, c.queries});
    const auto Q = rows(q, c.queries), K = rows(k, c.keys), V = rows(v, c.keys);
    forward(Q, K, V, scale(), c.causal, rows(out, c.queries), sums);
    backward(Q, K, V, scale(), c.causal, rows(out, c.queries), sums, rows(dout, c.queries),
             rows(dq, c.queries), rows(dk, c.keys), rows(dv, c.keys));
  }
  void reference() {
    run([](auto... args) { attention_ref<float>(args...); },
        [](auto... args) { attention_backward_ref<float>(args...); });
  }
};

double largest(const std::vector<float>& values) {
  double most = 0;
  for (const float value : values) most = std::max(most, std::abs(static_cast<double>(value)));
  return most;
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double one = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(one <= worst)) worst = one;  // NaN counts as worst
  }
  return worst;
}

TEST_ON_EVERY_BACKEND(AttentionBf16, IsCloseToTheReferenceBothWays) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(text("queries ", c.queries, ", keys ", c.keys, ", dim ", c.dim));
    Pass fast(c), plain(c);
    fast.run(ctx);
    plain.reference();
    // weights lose up to 2^-9 of themselves, so a mean of values up to 2^-9 of the largest
    EXPECT_LT(difference(fast.out, plain.out), 0x1p-8 * largest(plain.v));
    EXPECT_LT(difference(fast.log_sum, plain.log_sum), 1e-4);
    // sums of up to 130 products with p or ds rounded by 2^-9, which partly cancel
    EXPECT_LT(difference(fast.dv, plain.dv), 0x1p-6 * largest(plain.dv));
    EXPECT_LT(difference(fast.dk, plain.dk), 0x1p-6 * largest(plain.dk));
    EXPECT_LT(difference(fast.dq, plain.dq), 0x1p-6 * largest(plain.dq));
  }
}

// rows kept as bf16: what the same pass gives on floats, rounded; the way back begins with the
// rounded result
TEST_ON_EVERY_PATH(AttentionBf16, TakesRowsOfBf16) {
  Context ctx({.threads = 2});
  const auto halves = [](const std::vector<float>& values) {
    return std::vector<bf16>(values.begin(), values.end());
  };
  for (const Case& c : kCases) {
    SCOPED_TRACE(text("queries ", c.queries, ", keys ", c.keys, ", dim ", c.dim));
    Pass floats(c);
    floats.run(ctx);
    auto q = halves(floats.q), k = halves(floats.k), v = halves(floats.v),
         dout = halves(floats.dout), out = halves(floats.out), dq = out, dk = k, dv = k;
    std::fill(out.begin(), out.end(), bf16(7.0f));
    std::vector<float> sums(floats.log_sum.size());
    const auto rows = [&](std::vector<bf16>& values, i64 tokens) {
      return View<bf16, 4>(values.data(), {c.batch, tokens, c.heads, c.dim});
    };
    const View<float, 3> log_sum(sums.data(), {c.batch, c.heads, c.queries});
    const auto Q = rows(q, c.queries), K = rows(k, c.keys), V = rows(v, c.keys);
    attention_bf16(ctx, Q, K, V, floats.scale(), c.causal, rows(out, c.queries), log_sum);
    attention_bf16_backward(ctx, Q, K, V, floats.scale(), c.causal, rows(out, c.queries), log_sum,
                            rows(dout, c.queries), rows(dq, c.queries), rows(dk, c.keys),
                            rows(dv, c.keys));
    const auto widened = [](const std::vector<bf16>& values) {
      return std::vector<float>(values.begin(), values.end());
    };
    EXPECT_EQ(widened(out), widened(halves(floats.out)));
    EXPECT_EQ(sums, floats.log_sum);
    EXPECT_EQ(widened(dv), widened(halves(floats.dv)));
    // <dout, out> moves by up to 2^-9 of its terms
    EXPECT_LT(difference(widened(dk), floats.dk), 0x1p-6 * largest(floats.dk));
    EXPECT_LT(difference(widened(dq), floats.dq), 0x1p-6 * largest(floats.dq));
  }
}

// slices of one projection, as the models have them, beside values that must stay
TEST_ON_EVERY_BACKEND(AttentionBf16, TakesSlicesOfAProjection) {
  for (const i64 dim : {10, 16}) {
    constexpr i64 kTokens = 21, kHeads = 2;
    const i64 row = 3 * kHeads * dim;
    auto qkv = random_values<float>(kTokens * row, 1);
    const auto dout = random_values<float>(kTokens * kHeads * dim, 2);
    const View<float, 4>::Sizes sizes = {1, kTokens, kHeads, dim};
    const auto part = [&](float* values, i64 index) {
      return View<float, 4>(values + index * kHeads * dim, sizes, {kTokens * row, row, dim, 1});
    };
    Buffer<float> there(ctx, qkv), gradient(ctx, kTokens * row), slopes(ctx, dout),
        out(ctx, kTokens * kHeads * dim), sums(ctx, kHeads * kTokens);
    const auto at = [&](i64 index) { return part(there.data(), index); };
    const View<float, 3> log_sum = sums.view<3>({1, kHeads, kTokens});
    attention_bf16(ctx, at(0), at(1), at(2), 0.3f, false, out.view<4>(sizes), log_sum);
    attention_bf16_backward(ctx, at(0), at(1), at(2), 0.3f, false, out.view<4>(sizes), log_sum,
                            slopes.view<4>(sizes), part(gradient.data(), 0),
                            part(gradient.data(), 1), part(gradient.data(), 2));

    std::vector<float> plain(dout.size()), plain_sums(kHeads * kTokens), plain_gradient(qkv.size());
    const View<float, 4> to(plain.data(), sizes);
    const View<float, 3> to_sums(plain_sums.data(), {1, kHeads, kTokens});
    const auto here = [&](i64 index) { return part(qkv.data(), index); };
    const auto back = [&](i64 index) { return part(plain_gradient.data(), index); };
    attention_ref<float>(here(0), here(1), here(2), static_cast<double>(0.3f), false, to, to_sums);
    attention_backward_ref<float>(here(0), here(1), here(2), static_cast<double>(0.3f), false, to,
                                  to_sums, View<const float, 4>(dout.data(), sizes), back(0),
                                  back(1), back(2));
    // scores of up to 0.3 * 16 * 3 with factors rounded by 2^-9
    EXPECT_LT(difference(out.values(), plain), 0x1p-5);
    EXPECT_LT(difference(gradient.values(), plain_gradient), 0x1p-4 * largest(plain_gradient));
  }
}

TEST_ON_EVERY_PATH(AttentionBf16, IsSteady) {
  for (const Case& c : {kCases[1], kCases[5]}) {
    Pass first(c), second(c);
    Context one({.threads = 1}), three({.threads = 3});
    first.run(one);
    second.run(three);
    EXPECT_EQ(first.out, second.out);
    EXPECT_EQ(first.dq, second.dq);
    EXPECT_EQ(first.dk, second.dk);
    EXPECT_EQ(first.dv, second.dv);
  }
}

TEST(AttentionBf16, NamesWhatDoesNotFit) {
  Context ctx({.threads = 1});
  Pass pass(kCases[0]);
  EXPECT_THROW(attention_bf16(ctx, pass.rows(pass.q, 17), pass.rows(pass.k, 16),
                              pass.rows(pass.v, 17), 1.0f, false, pass.rows(pass.out, 17)),
               Error);
}

}  // namespace
}  // namespace orrery
