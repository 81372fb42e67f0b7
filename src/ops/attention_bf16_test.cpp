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
    {1, 97, 97, 2, 5, false},  {2, 5, 80, 1, 1, true},    {3, 3, 3, 4, 64, true}};

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

  // of attention_bf16 or the reference
  template <typename Forward, typename Backward>
  void run(const Forward& forward, const Backward& backward) {
    const View<float, 3> sums(log_sum.data(), {c.batch, c.heads, c.queries});
    const auto Q = rows(q, c.queries), K = rows(k, c.keys), V = rows(v, c.keys);
    forward(Q, K, V, scale(), c.causal, rows(out, c.queries), sums);
    backward(Q, K, V, scale(), c.causal, rows(out, c.queries), sums, rows(dout, c.queries),
             rows(dq, c.queries), rows(dk, c.keys), rows(dv, c.keys));
  }
  void run(Context& ctx) {
    run([&](auto... args) { attention_bf16(ctx, args...); },
        [&](auto... args) { attention_bf16_backward(ctx, args...); });
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

TEST_ON_EVERY_PATH(AttentionBf16, IsCloseToTheReferenceBothWays) {
  Context ctx({.threads = 2});
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

// slices of one projection, as the models have them, beside values that must stay
TEST_ON_EVERY_PATH(AttentionBf16, TakesSlicesOfAProjection) {
  Context ctx({.threads = 2});
  constexpr i64 kTokens = 21, kHeads = 2, kDim = 10, kRow = 3 * kHeads * kDim;
  auto qkv = random_values<float>(kTokens * kRow, 1);
  const auto part = [&](i64 index) {
    return View<const float, 4>(qkv.data() + index * kHeads * kDim, {1, kTokens, kHeads, kDim},
                                {kTokens * kRow, kRow, kDim, 1});
  };
  std::vector<float> out(kTokens * kHeads * kDim), plain(out.size());
  const View<float, 4> to(out.data(), {1, kTokens, kHeads, kDim});
  attention_bf16(ctx, part(0), part(1), part(2), 0.3f, false, to);
  attention_ref<float>(part(0), part(1), part(2), static_cast<double>(0.3f), false,
                       View<float, 4>(plain.data(), to.sizes()), {});
  // scores of up to 0.3 * 10 * 3 with factors rounded by 2^-9
  EXPECT_LT(difference(out, plain), 0x1p-5);
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
