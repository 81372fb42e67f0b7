#include "ops/dropout.h"

#include "ops/attention.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using test::random_values;
using test::view1;

TEST(Dropout, KeepsTheMeanAndForgetsItsShare) {
  Context ctx({.threads = 2});
  const std::vector<float> ones(100000, 1.0f);
  std::vector<float> y(ones.size());
  dropout(ctx, {.rate = 0.3f, .seed = 1, .stream = 2}, view1(ones), view1(y));
  i64 forgotten = 0;
  for (const float value : y) {
    forgotten += value == 0.0f;
    EXPECT_TRUE(value == 0.0f || value == 1.0f / (1.0f - 0.3f));
  }
  // 100,000 draws: the share is known to 0.15 %, four times that is allowed
  EXPECT_NEAR(static_cast<double>(forgotten) / static_cast<double>(y.size()), 0.3, 0.006);
}

TEST(Dropout, DrawsTheSameMaskAgainAndAnotherForAnotherStream) {
  const auto x = random_values(10001, 3);
  const auto masked = [&](Context& ctx, u64 stream) {
    std::vector<float> y(x.size());
    dropout(ctx, {.rate = 0.5f, .seed = 1, .stream = stream}, view1(x), view1(y));
    return y;
  };
  test::expect_same_bits_for_any_threads([&](Context& ctx) { return masked(ctx, 7); });
  Context ctx({.threads = 1});
  EXPECT_FALSE(test::same_bits(masked(ctx, 7), masked(ctx, 8)));
}

TEST(Dropout, RefusesARateOfOne) {
  Context ctx({.threads = 1});
  std::vector<float> x(4);
  EXPECT_THROW(dropout(ctx, {.rate = 1.0f}, view1(x), view1(x)), Error);
}

struct Attended {
  static constexpr i64 kBatch = 3, kTokens = 4, kHeads = 2, kDim = 5;
  std::vector<float> q = random_values(kBatch * kTokens * kHeads * kDim, 1);
  std::vector<float> k = random_values(kBatch * kTokens * kHeads * kDim, 2);
  std::vector<float> v = random_values(kBatch * kTokens * kHeads * kDim, 3);

  static View<float, 4> view(std::vector<float>& values) {
    return {values.data(), {kBatch, kTokens, kHeads, kDim}};
  }
};

TEST(AttentionDropout, EqualsAttentionAtRateZero) {
  Context ctx({.threads = 2});
  Attended a;
  for (const bool causal : {false, true}) {
    std::vector<float> out(a.q.size()), expected(a.q.size());
    attention_dropout(ctx, {}, a.view(a.q), a.view(a.k), a.view(a.v), 0.4f, causal, a.view(out));
    attention(ctx, a.view(a.q), a.view(a.k), a.view(a.v), 0.4f, causal, a.view(expected));
    // sums of four to five terms of unit size
    EXPECT_LT(test::max_difference(out, expected), 2e-6);
  }
}

// The mask does not depend on the values, so the loss is smooth in them.
TEST(AttentionDropout, BackwardEqualsFiniteDifferences) {
  Context ctx({.threads = 2});
  const Dropout settings{.rate = 0.3f, .seed = 5, .stream = 6};
  Attended a;
  const auto dout_values = random_values(static_cast<i64>(a.q.size()), 4);
  std::vector<float> dout = dout_values, out(dout.size());
  std::vector<float> dq(dout.size()), dk(dout.size()), dv(dout.size());
  attention_dropout_backward(ctx, settings, a.view(a.q), a.view(a.k), a.view(a.v), 0.4f, true,
                             a.view(dout), a.view(dq), a.view(dk), a.view(dv));
  const auto loss = [&] {
    attention_dropout(ctx, settings, a.view(a.q), a.view(a.k), a.view(a.v), 0.4f, true,
                      a.view(out));
    double sum = 0;
    for (std::size_t i = 0; i < out.size(); ++i) sum += double{out[i]} * dout[i];
    return sum;
  };
  const std::pair<std::vector<float>*, std::vector<float>*> pairs[] = {
      {&a.q, &dq}, {&a.k, &dk}, {&a.v, &dv}};
  for (const auto& [values, gradient] : pairs) {
    for (std::size_t i = 0; i < values->size(); ++i) {
      constexpr float kStep = 1.0f / 64;
      const float kept = (*values)[i];
      (*values)[i] = kept + kStep;
      const double above = loss();
      (*values)[i] = kept - kStep;
      const double below = loss();
      (*values)[i] = kept;
      // f32 rounding over the step 1e-4, the third derivative times its square 1e-4
      EXPECT_NEAR((above - below) / (2 * kStep), (*gradient)[i], 1e-3);
    }
  }
}

}  // namespace
}  // namespace orrery
