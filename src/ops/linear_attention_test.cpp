#include "ops/linear_attention.h"

#include "base/text.h"
#include "ops/linear_attention_ref.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

struct Case {
  i64 batch, queries, keys, heads, dim;
};
constexpr Case kCases[] = {{2, 21, 21, 4, 8}, {1, 261, 261, 4, 16}, {3, 1, 5, 2, 3},
                           {1, 4, 1, 1, 1},   {2, 7, 9, 3, 33},     {1, 65, 40, 2, 17}};

template <typename T>
struct Pass {
  Case c;
  std::vector<T> q, k, v, out, dout, dq, dk, dv;

  explicit Pass(const Case& case_)
      : c(case_),
        q(random_values<T>(c.batch * c.queries * c.heads * c.dim, 1)),
        k(random_values<T>(c.batch * c.keys * c.heads * c.dim, 2)),
        v(random_values<T>(c.batch * c.keys * c.heads * c.dim, 3)),
        out(q.size()),
        dout(random_values<T>(c.batch * c.queries * c.heads * c.dim, 4)),
        dq(q.size()),
        dk(k.size()),
        dv(v.size()) {}

  View<T, 4> at_queries(std::vector<T>& x) {
    return View<T, 4>(x.data(), {c.batch, c.queries, c.heads, c.dim});
  }
  View<T, 4> at_keys(std::vector<T>& x) {
    return View<T, 4>(x.data(), {c.batch, c.keys, c.heads, c.dim});
  }
  std::vector<double> reference() {
    linear_attention_ref<T>(at_queries(q), at_keys(k), at_keys(v), at_queries(out));
    return std::vector<double>(out.begin(), out.end());
  }
  std::string name() const {
    return text("batch ", c.batch, ", queries ", c.queries, ", keys ", c.keys, ", heads ", c.heads,
                ", dim ", c.dim);
  }
};

void run(Context& ctx, Pass<float>& pass) {
  linear_attention(ctx, pass.at_queries(pass.q), pass.at_keys(pass.k), pass.at_keys(pass.v),
                   pass.at_queries(pass.out));
  linear_attention_backward(ctx, pass.at_queries(pass.q), pass.at_keys(pass.k),
                            pass.at_keys(pass.v), pass.at_queries(pass.out),
                            pass.at_queries(pass.dout), pass.at_queries(pass.dq),
                            pass.at_keys(pass.dk), pass.at_keys(pass.dv));
}

TEST_ON_EVERY_PATH(LinearAttention, EqualsReference) {
  Context ctx({.threads = 2});
  for (const Case& c : kCases) {
    Pass<float> pass(c);
    Pass<double> expected(c);
    run(ctx, pass);
    // weighted means of values up to 4, weights good to a few 1e-7
    EXPECT_LE(max_difference(pass.out, expected.reference()), 1e-5) << pass.name();
  }
}

// The gradient in f32 against central differences of the reference in double.
TEST_ON_EVERY_PATH(LinearAttention, BackwardEqualsDifferences) {
  Context ctx({.threads = 2});
  for (const Case& c : kCases) {
    if (c.queries > 100) continue;  // the reference is quadratic
    Pass<float> pass(c);
    Pass<double> wide(c);
    run(ctx, pass);
    const auto expect = [&](std::vector<double>& x, const std::vector<float>& gradient,
                            const char* which) {
      for (std::size_t i = 0; i < x.size(); i += 1 + x.size() / 12) {
        constexpr double kStep = 1e-5;
        const double kept = x[i];
        x[i] = kept + kStep;
        const double above = weighted_sum(wide.reference(), wide.dout);
        x[i] = kept - kStep;
        const double below = weighted_sum(wide.reference(), wide.dout);
        x[i] = kept;
        // differences are good to 1e-8; the rest are f32 sums of up to 65 terms of unit size
        EXPECT_NEAR(gradient[i], (above - below) / (2 * kStep), 2e-5)
            << which << " element " << i << ", " << pass.name();
      }
    };
    expect(wide.q, pass.dq, "q");
    expect(wide.k, pass.dk, "k");
    expect(wide.v, pass.dv, "v");
  }
}

TEST(LinearAttention, SameBitsForAnyNumberOfThreads) {
  expect_same_bits_for_any_threads([](Context& ctx) {
    Pass<float> pass(kCases[0]);
    run(ctx, pass);
    pass.out.insert(pass.out.end(), pass.dk.begin(), pass.dk.end());
    return pass.out;
  });
}

TEST(LinearAttention, ShapesMustFit) {
  Context ctx({.threads = 1});
  Pass<float> pass(kCases[0]), other(kCases[1]);
  EXPECT_THROW(linear_attention(ctx, pass.at_queries(pass.q), other.at_keys(other.k),
                                pass.at_keys(pass.v), pass.at_queries(pass.out)),
               Error);
}

}  // namespace
}  // namespace orrery
