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

// the mask is the CPU's, bit for bit, wherever it begins
TEST(CudaDropout, DrawsTheMaskOfTheCpu) {
  ORRERY_NEEDS_CUDA;
  Context ctx(test::on_cuda()), cpu({.threads = 1});
  const auto x = random_values(1003, 3);
  for (const i64 first : {0, 1, 6, 4095}) {
    const Dropout settings{.rate = 0.3f, .seed = 5, .stream = u64{1} << 40 | 7, .first = first};
    test::Buffer<float> there(ctx, x);
    dropout(ctx, settings, there.flat(), there.flat());
    std::vector<float> expected(x.size());
    dropout(cpu, settings, view1(x), view1(expected));
    EXPECT_TRUE(test::same_bits(there.values(), expected)) << first;

    // the stream's number from the device's memory
    test::Buffer<u64> stream(ctx, std::vector<u64>{settings.stream});
    Dropout captured = settings;
    captured.stream = 0;
    captured.stream_there = stream.data();
    there.set(x);
    dropout(ctx, captured, there.flat(), there.flat());
    EXPECT_TRUE(test::same_bits(there.values(), expected)) << first;
  }
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

struct WindowCase {
  i64 batch, queries, keys, heads, dim;
  bool causal;
};

// short windows in registers, longer ones, rows that no vector takes whole
TEST(CudaAttentionDropout, EqualsTheCpuBothWays) {
  ORRERY_NEEDS_CUDA;
  Context ctx(test::on_cuda()), cpu({.threads = 1});
  for (const WindowCase& c :
       {WindowCase{5, 3, 3, 4, 64, true}, WindowCase{3, 4, 4, 2, 5, false},
        WindowCase{2, 2, 4, 3, 100, true}, WindowCase{2, 1, 1, 1, 1, true},
        WindowCase{2, 16, 16, 2, 24, true}, WindowCase{1, 5, 9, 2, 128, false}}) {
    const Dropout settings{.rate = 0.3f, .seed = 5, .stream = 6, .first = 3};
    const auto count = [&](i64 tokens) { return c.batch * tokens * c.heads * c.dim; };
    auto q = random_values(count(c.queries), 1), k = random_values(count(c.keys), 2),
         v = random_values(count(c.keys), 3), dout = random_values(count(c.queries), 4);
    std::vector<float> out(q.size()), dq(q.size()), dk(k.size()), dv(k.size());
    const auto at = [&](float* values, i64 tokens) {
      return View<float, 4>(values, {c.batch, tokens, c.heads, c.dim});
    };
    const auto queries = [&](auto& values) { return at(values.data(), c.queries); };
    const auto keys = [&](auto& values) { return at(values.data(), c.keys); };
    attention_dropout(cpu, settings, queries(q), keys(k), keys(v), 0.3f, c.causal, queries(out));
    attention_dropout_backward(cpu, settings, queries(q), keys(k), keys(v), 0.3f, c.causal,
                               queries(dout), queries(dq), keys(dk), keys(dv));

    test::Buffer<float> q_there(ctx, q), k_there(ctx, k), v_there(ctx, v), dout_there(ctx, dout),
        out_there(ctx, count(c.queries)), dq_there(ctx, count(c.queries)),
        dk_there(ctx, count(c.keys)), dv_there(ctx, count(c.keys));
    attention_dropout(ctx, settings, queries(q_there), keys(k_there), keys(v_there), 0.3f, c.causal,
                      queries(out_there));
    attention_dropout_backward(ctx, settings, queries(q_there), keys(k_there), keys(v_there), 0.3f,
                               c.causal, queries(dout_there), queries(dq_there), keys(dk_there),
                               keys(dv_there));
    // sums of up to 128 products of unit size, in another order
    EXPECT_LE(test::max_difference(out_there.values(), out), 5e-6);
    EXPECT_LE(test::max_difference(dq_there.values(), dq), 2e-5);
    EXPECT_LE(test::max_difference(dk_there.values(), dk), 2e-5);
    EXPECT_LE(test::max_difference(dv_there.values(), dv), 2e-5);
  }
}

TEST(CudaAttentionDropout, RefusesLongWindows) {
  ORRERY_NEEDS_CUDA;
  Context ctx(test::on_cuda());
  test::Buffer<float> rows(ctx, 17 * 4);
  const auto view = rows.view<4>({1, 17, 1, 4});
  EXPECT_THROW(attention_dropout(ctx, {.rate = 0.5f}, view, view, view, 1.0f, true, view), Error);
}

}  // namespace
}  // namespace orrery
