#include "ops/attention.h"

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
constexpr Case kCases[] = {
    // predictor windows, whole and with cached keys
    {5, 3, 3, 4, 64, true},
    {3, 1, 3, 2, 16, true},
    {2, 2, 4, 3, 7, true},
    {2, 4, 4, 1, 33, false},
    {3, 1, 1, 2, 1, false},
    // encoder shapes, and every remainder of rows and vectors
    {1, 5, 5, 2, 3, true},
    {2, 17, 17, 3, 32, false},
    {2, 65, 65, 2, 32, false},
    {1, 33, 48, 1, 24, true},
    {1, 1, 31, 2, 15, false},
    {1, 64, 15, 1, 17, false},
    {1, 130, 257, 1, 64, true},
    {1, 1, 257, 2, 64, false},
    {1, 6, 70, 1, 128, false},
    // so many pairs that tiles of few queries do not pay
    {65, 5, 66, 2, 8, false},
    {64, 65, 5, 2, 3, false},
    {128, 5, 5, 1, 64, true},
    {64, 5, 5, 2, 100, false},
};

std::string name_of_case(const Case& c) {
  return text("batch ", c.batch, ", queries ", c.queries, ", keys ", c.keys, ", heads ", c.heads,
              ", dim ", c.dim, c.causal ? ", causal" : "");
}

// q, k and v are slices of one projection where queries and keys agree, else separate
template <typename T>
struct Pass {
  Case c;
  double scale;
  std::vector<T> q, k, v, out, log_sum, dout, dq, dk, dv;

  explicit Pass(const Case& case_)
      : c(case_),
        scale(1.0 / std::sqrt(static_cast<double>(c.dim))),
        q(random_values<T>(c.batch * c.queries * c.heads * c.dim, 1)),
        k(random_values<T>(c.batch * c.keys * c.heads * c.dim, 2)),
        v(random_values<T>(c.batch * c.keys * c.heads * c.dim, 3)),
        out(q.size()),
        log_sum(static_cast<std::size_t>(c.batch * c.heads * c.queries)),
        dout(random_values<T>(c.batch * c.queries * c.heads * c.dim, 4)),
        dq(q.size()),
        dk(k.size()),
        dv(k.size()) {}

  View<T, 4> at_queries(std::vector<T>& values) {
    return View<T, 4>(values.data(), {c.batch, c.queries, c.heads, c.dim});
  }
  View<T, 4> at_keys(std::vector<T>& values) {
    return View<T, 4>(values.data(), {c.batch, c.keys, c.heads, c.dim});
  }
  View<T, 3> sums() { return View<T, 3>(log_sum.data(), {c.batch, c.heads, c.queries}); }

  void reference() {
    attention_ref<T>(at_queries(q), at_keys(k), at_keys(v), scale, c.causal, at_queries(out),
                     sums());
    attention_backward_ref<T>(at_queries(q), at_keys(k), at_keys(v), scale, c.causal,
                              at_queries(out), sums(), at_queries(dout), at_queries(dq),
                              at_keys(dk), at_keys(dv));
  }
  void run(Context& ctx) {
    const float factor = static_cast<float>(scale);
    attention(ctx, at_queries(q), at_keys(k), at_keys(v), factor, c.causal, at_queries(out),
              sums());
    attention_backward(ctx, at_queries(q), at_keys(k), at_keys(v), factor, c.causal,
                       at_queries(out), sums(), at_queries(dout), at_queries(dq), at_keys(dk),
                       at_keys(dv));
  }
};

// the same rows where a context works
template <typename T>
struct Rows {
  Case c;
  Buffer<T> q, k, v, out;
  Buffer<float> log_sum;

  Rows(Context& ctx, const Case& case_)
      : c(case_),
        q(ctx, drawn(c.queries, 1)),
        k(ctx, drawn(c.keys, 2)),
        v(ctx, drawn(c.keys, 3)),
        out(ctx, c.batch * c.queries * c.heads * c.dim),
        log_sum(ctx, c.batch * c.heads * c.queries) {}

  std::vector<T> drawn(i64 tokens, u64 seed) const {
    std::vector<T> values;
    for (const float value : random_values(c.batch * tokens * c.heads * c.dim, seed)) {
      values.push_back(T(value));
    }
    return values;
  }
  View<T, 4> at_queries(Buffer<T>& rows) {
    return rows.template view<4>({c.batch, c.queries, c.heads, c.dim});
  }
  View<T, 4> at_keys(Buffer<T>& rows) {
    return rows.template view<4>({c.batch, c.keys, c.heads, c.dim});
  }
  View<float, 3> sums() { return log_sum.view<3>({c.batch, c.heads, c.queries}); }
};

TEST_ON_EVERY_BACKEND(Attention, EqualsReference) {
  for (const Case& c : kCases) {
    Rows<float> pass(ctx, c);
    Pass<double> expected(c);
    const auto scale = static_cast<float>(expected.scale);
    attention(ctx, pass.at_queries(pass.q), pass.at_keys(pass.k), pass.at_keys(pass.v), scale,
              c.causal, pass.at_queries(pass.out), pass.sums());
    expected.reference();
    const auto where = name_of_case(c);
    // scores of up to 5 are good to 1e-6, and so are weights; 257 weighted sums of values up to 4
    // add little
    const auto with = pass.out.values();
    EXPECT_LE(max_difference(with, expected.out), 1e-5) << where;
    EXPECT_LE(max_difference(pass.log_sum.values(), expected.log_sum), 1e-5) << where;

    // log_sum is optional
    attention(ctx, pass.at_queries(pass.q), pass.at_keys(pass.k), pass.at_keys(pass.v), scale,
              c.causal, pass.at_queries(pass.out));
    EXPECT_TRUE(same_bits(pass.out.values(), with)) << where;
  }
}

TEST(CudaAttention, Bf16EqualsReference) {
  ORRERY_NEEDS_CUDA;
  Context ctx(on_cuda());
  for (const Case& c : kCases) {
    Rows<bf16> pass(ctx, c);
    Pass<double> expected(c);
    expected.q = converted<double>(pass.q.values());
    expected.k = converted<double>(pass.k.values());
    expected.v = converted<double>(pass.v.values());
    attention(ctx, pass.at_queries(pass.q), pass.at_keys(pass.k), pass.at_keys(pass.v),
              static_cast<float>(expected.scale), c.causal, pass.at_queries(pass.out));
    expected.reference();
    // weights are rounded by 2^-9, their sum is not, and the result is: values reach 4
    EXPECT_LE(max_difference(pass.out.values(), expected.out), 4 * 0x1p-7) << name_of_case(c);
  }
}

TEST_ON_EVERY_BACKEND(Attention, BackwardEqualsReference) {
  for (const Case& c : kCases) {
    Rows<float> pass(ctx, c);
    Pass<double> expected(c);
    const auto scale = static_cast<float>(expected.scale);
    Buffer<float> dout(ctx, pass.drawn(c.queries, 4)), dq(ctx, pass.q.count()),
        dk(ctx, pass.k.count()), dv(ctx, pass.k.count());
    attention(ctx, pass.at_queries(pass.q), pass.at_keys(pass.k), pass.at_keys(pass.v), scale,
              c.causal, pass.at_queries(pass.out), pass.sums());
    attention_backward(ctx, pass.at_queries(pass.q), pass.at_keys(pass.k), pass.at_keys(pass.v),
                       scale, c.causal, pass.at_queries(pass.out), pass.sums(),
                       pass.at_queries(dout), pass.at_queries(dq), pass.at_keys(dk),
                       pass.at_keys(dv));
    expected.reference();
    const auto where = name_of_case(c);
    // as above
    EXPECT_LE(max_difference(dq.values(), expected.dq), 1e-5) << where;
    EXPECT_LE(max_difference(dk.values(), expected.dk), 2e-5) << where;
    EXPECT_LE(max_difference(dv.values(), expected.dv), 2e-5) << where;
  }
}

TEST(CudaAttention, Bf16BackwardEqualsReference) {
  ORRERY_NEEDS_CUDA;
  Context ctx(on_cuda());
  for (const Case& c : kCases) {
    if (c.batch > 60) continue;  // what these show are tiles of f32
    Rows<bf16> pass(ctx, c);
    Pass<double> expected(c);
    Buffer<bf16> dout(ctx, pass.drawn(c.queries, 4)), dq(ctx, pass.q.count()),
        dk(ctx, pass.k.count()), dv(ctx, pass.k.count());
    expected.q = converted<double>(pass.q.values());
    expected.k = converted<double>(pass.k.values());
    expected.v = converted<double>(pass.v.values());
    expected.dout = converted<double>(dout.values());
    const auto scale = static_cast<float>(expected.scale);
    attention(ctx, pass.at_queries(pass.q), pass.at_keys(pass.k), pass.at_keys(pass.v), scale,
              c.causal, pass.at_queries(pass.out), pass.sums());
    attention_backward(ctx, pass.at_queries(pass.q), pass.at_keys(pass.k), pass.at_keys(pass.v),
                       scale, c.causal, pass.at_queries(pass.out), pass.sums(),
                       pass.at_queries(dout), pass.at_queries(dq), pass.at_keys(dk),
                       pass.at_keys(dv));
    expected.reference();
    const auto where = name_of_case(c);
    EXPECT_LE(max_difference(pass.log_sum.values(), expected.log_sum), 1e-5) << where;
    const auto expect_close = [&](Buffer<bf16>& got, const std::vector<double>& exact) {
      double largest = 0;
      for (const double value : exact) largest = std::max(largest, std::abs(value));
      // one key alone has weight 1 and slopes that cancel to what rounding leaves of out
      EXPECT_LE(max_difference(got.values(), exact), 0x1p-6 * std::max(largest, 1.0)) << where;
    };
    expect_close(dq, expected.dq);
    expect_close(dk, expected.dk);
    expect_close(dv, expected.dv);
  }
}

// slices of rows that hold q, k and v beside each other, against the same rows apart
template <typename T>
void expect_slices_are_read(Context& ctx, i64 tokens, i64 dim) {
  const i64 batch = 2, heads = 3, width = 3 * heads * dim;
  Rows<T> apart(ctx, {batch, tokens, tokens, heads, dim, false});
  std::vector<T> joint;
  const auto q = apart.q.values(), k = apart.k.values(), v = apart.v.values();
  for (i64 row = 0; row < batch * tokens; ++row) {
    for (const auto* part : {&q, &k, &v}) {
      const auto from = part->begin() + row * heads * dim;
      joint.insert(joint.end(), from, from + heads * dim);
    }
  }
  Buffer<T> joint_there(ctx, joint), out(ctx, batch * tokens * heads * dim);
  const auto slice = [&](i64 index) {
    return View<const T, 4>(joint_there.data() + index * heads * dim, {batch, tokens, heads, dim},
                            {tokens * width, width, dim, 1});
  };
  attention(ctx, View<const T, 4>(apart.at_queries(apart.q)),
            View<const T, 4>(apart.at_keys(apart.k)), View<const T, 4>(apart.at_keys(apart.v)),
            0.25f, false, apart.at_queries(apart.out));
  attention(ctx, slice(0), slice(1), slice(2), 0.25f, false,
            out.template view<4>({batch, tokens, heads, dim}));
  EXPECT_TRUE(same_bits(out.values(), apart.out.values())) << tokens << " tokens of " << dim;
}

TEST_ON_EVERY_BACKEND(Attention, ForwardReadsSlicesOfOneProjection) {
  // 20 values are read whole, 7 one by one
  for (const i64 tokens : {3, 21}) {
    for (const i64 dim : {20, 7}) expect_slices_are_read<float>(ctx, tokens, dim);
  }
}

TEST(CudaAttention, Bf16ReadsSlicesOfOneProjection) {
  ORRERY_NEEDS_CUDA;
  Context ctx(on_cuda());
  for (const i64 tokens : {3, 21}) {
    for (const i64 dim : {16, 20, 7}) expect_slices_are_read<bf16>(ctx, tokens, dim);
  }
}

TEST_ON_EVERY_PATH(Attention, ReadsSlicesOfOneProjection) {
  Context ctx({.threads = 2});
  for (const i64 tokens : {3, 21}) {
    const i64 batch = 2, heads = 3, dim = 20, width = 3 * heads * dim;
    auto joint = random_values(batch * tokens * width, 1);
    const auto slice = [&](std::vector<float>& from, i64 index) {
      return View<float, 4>(from.data() + index * heads * dim, {batch, tokens, heads, dim},
                            {tokens * width, width, dim, 1});
    };
    Pass<float> apart({batch, tokens, tokens, heads, dim, false});
    for (i64 b = 0; b < batch; ++b) {
      for (i64 t = 0; t < tokens; ++t) {
        for (i64 h = 0; h < heads; ++h) {
          for (i64 i = 0; i < dim; ++i) {
            apart.at_queries(apart.q)(b, t, h, i) = slice(joint, 0)(b, t, h, i);
            apart.at_keys(apart.k)(b, t, h, i) = slice(joint, 1)(b, t, h, i);
            apart.at_keys(apart.v)(b, t, h, i) = slice(joint, 2)(b, t, h, i);
          }
        }
      }
    }
    apart.run(ctx);
    std::vector<float> out(apart.out.size()), gradient(joint.size());
    const View<float, 4> out_view(out.data(), {batch, tokens, heads, dim});
    const float scale = static_cast<float>(apart.scale);
    attention(ctx, slice(joint, 0), slice(joint, 1), slice(joint, 2), scale, false, out_view);
    EXPECT_TRUE(same_bits(out, apart.out));
    attention_backward(ctx, slice(joint, 0), slice(joint, 1), slice(joint, 2), scale, false,
                       out_view, apart.sums(), apart.at_queries(apart.dout), slice(gradient, 0),
                       slice(gradient, 1), slice(gradient, 2));
    for (i64 t = 0; t < tokens; ++t) {
      EXPECT_EQ(slice(gradient, 0)(1, t, 2, 5), apart.at_queries(apart.dq)(1, t, 2, 5));
      EXPECT_EQ(slice(gradient, 1)(1, t, 2, 5), apart.at_keys(apart.dk)(1, t, 2, 5));
      EXPECT_EQ(slice(gradient, 2)(1, t, 2, 5), apart.at_keys(apart.dv)(1, t, 2, 5));
    }
  }
}

TEST_ON_EVERY_BACKEND(Attention, SurvivesLargeScores) {
  for (const i64 tokens : {3, 40}) {
    const Case c = {1, tokens, tokens, 1, 8, true};
    Rows<float> pass(ctx, c);
    Pass<double> expected(c);
    for (double& value : expected.q) value *= 300;
    // the draws are floats, their products with 300 rounded once
    Buffer<float> large(ctx, converted<float>(expected.q));
    attention(ctx, pass.at_queries(large), pass.at_keys(pass.k), pass.at_keys(pass.v),
              static_cast<float>(expected.scale), true, pass.at_queries(pass.out));
    expected.reference();
    // scores reach 1000 and are good to 2^-14: so are weights that are neither 0 nor 1
    EXPECT_LE(max_difference(pass.out.values(), expected.out), 1e-3) << tokens << " tokens";
  }
}

TEST(Attention, ReferenceGradientIsTheDerivative) {
  for (const bool causal : {false, true}) {
    Pass<double> pass({2, 3, 4, 2, 3, causal});
    pass.reference();
    const auto dq = pass.dq, dk = pass.dk, dv = pass.dv;
    const auto loss = [&] {
      attention_ref<double>(pass.at_queries(pass.q), pass.at_keys(pass.k), pass.at_keys(pass.v),
                            pass.scale, causal, pass.at_queries(pass.out), pass.sums());
      return weighted_sum(pass.out, pass.dout);
    };
    expect_gradient(pass.q, dq, loss);
    expect_gradient(pass.k, dk, loss);
    expect_gradient(pass.v, dv, loss);
  }
}

TEST(Attention, SameBitsForAnyThreads) {
  for (const Case& c : {Case{70, 3, 3, 4, 16, true}, Case{3, 130, 130, 2, 24, false}}) {
    expect_same_bits_for_any_threads([&](Context& ctx) {
      Pass<float> pass(c);
      pass.run(ctx);
      auto all = pass.out;
      for (const auto* part : {&pass.dq, &pass.dk, &pass.dv, &pass.log_sum})
        all.insert(all.end(), part->begin(), part->end());
      return all;
    });
  }
}

TEST(Attention, RefusesWrongShapes) {
  Context ctx({.threads = 1});
  std::vector<float> values(1000);
  const auto four = [&](i64 tokens, i64 heads) {
    return View<float, 4>(values.data(), {2, tokens, heads, 8});
  };
  EXPECT_THROW(attention(ctx, four(3, 2), four(3, 2), four(4, 2), 1.0f, false, four(3, 2)), Error);
  EXPECT_THROW(attention(ctx, four(3, 2), four(3, 1), four(3, 1), 1.0f, false, four(3, 2)), Error);
  EXPECT_THROW(attention(ctx, four(3, 2), four(2, 2), four(2, 2), 1.0f, true, four(3, 2)), Error);
  EXPECT_THROW(attention(ctx, four(3, 2), four(0, 2), four(0, 2), 1.0f, false, four(3, 2)), Error);
  EXPECT_THROW(attention(ctx, four(3, 2), four(3, 2), four(3, 2), 1.0f, false, four(3, 2),
                         View<float, 3>(values.data(), {2, 3, 2})),
               Error);
}

TEST(Attention, RefusesBf16OnTheCpu) {
  Context ctx({.threads = 1});
  std::vector<bf16> values(48);
  const View<bf16, 4> rows(values.data(), {2, 3, 1, 8});
  EXPECT_THROW(attention(ctx, rows, rows, rows, 1.0f, false, rows), Error);
}

TEST(CudaAttention, RefusesHeadsWiderThanAWarpHolds) {
  ORRERY_NEEDS_CUDA;
  Context ctx(on_cuda());
  Rows<float> pass(ctx, {1, 2, 2, 1, 129, false});
  EXPECT_THROW(attention(ctx, pass.at_queries(pass.q), pass.at_keys(pass.k), pass.at_keys(pass.v),
                         1.0f, false, pass.at_queries(pass.out)),
               Error);
}

}  // namespace
}  // namespace orrery
