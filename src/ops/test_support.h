#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/random.h"
#include "device/context.h"
#include "ops/cpu_path.h"
#include "tensor/placed.h"
#include "tensor/view.h"

// A test whose body runs once on every instruction set that this machine has.
#define TEST_ON_EVERY_PATH(suite, name)              \
  void suite##_##name##_body();                      \
  TEST(suite, name) {                                \
    for (const char* path : ::orrery::cpu_paths()) { \
      SCOPED_TRACE(path);                            \
      ::orrery::use_cpu_path(path);                  \
      EXPECT_STREQ(::orrery::cpu_path(), path);      \
      suite##_##name##_body();                       \
    }                                                \
    ::orrery::use_cpu_path(nullptr);                 \
  }                                                  \
  void suite##_##name##_body()

// The same, and once more on a CUDA device (or its emulation) as a test of suite Cuda<suite>, which
// is skipped by name where there is none. The body gets the context; its values lie in Buffers.
#define TEST_ON_EVERY_BACKEND(suite, name)            \
  void suite##_##name##_body(::orrery::Context&);     \
  TEST(suite, name) {                                 \
    ::orrery::Context ctx({.threads = 2});            \
    for (const char* path : ::orrery::cpu_paths()) {  \
      SCOPED_TRACE(path);                             \
      ::orrery::use_cpu_path(path);                   \
      EXPECT_STREQ(::orrery::cpu_path(), path);       \
      suite##_##name##_body(ctx);                     \
    }                                                 \
    ::orrery::use_cpu_path(nullptr);                  \
  }                                                   \
  TEST(Cuda##suite, name) {                           \
    ORRERY_NEEDS_CUDA;                                \
    ::orrery::Context ctx(::orrery::test::on_cuda()); \
    suite##_##name##_body(ctx);                       \
  }                                                   \
  void suite##_##name##_body([[maybe_unused]] ::orrery::Context& ctx)

#define ORRERY_NEEDS_CUDA                                \
  if (std::string reason; cuda_facts(&reason).empty()) { \
    GTEST_SKIP() << "needs a CUDA device: " << reason;   \
  }                                                      \
  static_assert(true)

namespace orrery::test {

inline Context::Options on_cuda() { return {.threads = 2, .where = {Device::cuda, 0}}; }

// Values where a context's operations run, seen as one row or as rows.
template <typename T>
class Buffer : public Placed<T> {
 public:
  using Placed<T>::Placed;
  View<T, 1> flat() { return this->template view<1>({this->count()}); }
  View<T, 2> rows(i64 dim) { return this->template view<2>({this->count() / dim, dim}); }
};

// lengths around every vector width
inline constexpr i64 kLengths[] = {0, 1, 15, 16, 17, 31, 33, 64, 999};

// Normal draws, the same for the same seed, in the element type asked for (float values also when T
// is double).
template <typename T = float>
std::vector<T> random_values(i64 count, u64 seed, float scale = 1.0f, float shift = 0.0f) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (i64 i = 0; i < count; ++i) {
    values[static_cast<std::size_t>(i)] =
        static_cast<T>(shift + scale * normal(seed, 77, static_cast<u64>(i)));
  }
  return values;
}

template <typename To, typename From>
std::vector<To> converted(const std::vector<From>& from) {
  return std::vector<To>(from.begin(), from.end());
}

template <typename T>
View<T, 1> view1(std::vector<T>& values) {
  return View<T, 1>(values.data(), {static_cast<i64>(values.size())});
}
template <typename T>
View<const T, 1> view1(const std::vector<T>& values) {
  return View<const T, 1>(values.data(), {static_cast<i64>(values.size())});
}

// the largest |a - b|; NaN anywhere gives NaN, which no tolerance admits
template <typename A, typename B>
double max_difference(const A& a, const B& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= worst)) worst = difference;
    if (std::isnan(worst)) break;
  }
  return worst;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// Runs `compute(ctx)`, which returns a vector of results, with 1, 2 and 3 threads and expects the
// same bits.
template <typename Compute>
void expect_same_bits_for_any_threads(const Compute& compute) {
  Context one({.threads = 1});
  const auto expected = compute(one);
  for (const int threads : {2, 3}) {
    Context ctx({.threads = threads});
    EXPECT_TRUE(same_bits(compute(ctx), expected)) << threads << " threads";
  }
}

// Central differences of a scalar function of `x`, in double, against an analytic gradient. The
// step 1e-5 leaves an error of about 1e-10 times third derivatives plus 1e-11 of cancellation for
// losses of unit size.
template <typename Loss>
void expect_gradient(std::vector<double>& x, const std::vector<double>& gradient, const Loss& loss,
                     double tolerance = 1e-7) {
  ASSERT_EQ(x.size(), gradient.size());
  constexpr double kStep = 1e-5;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double kept = x[i];
    x[i] = kept + kStep;
    const double above = loss();
    x[i] = kept - kStep;
    const double below = loss();
    x[i] = kept;
    EXPECT_NEAR((above - below) / (2 * kStep), gradient[i], tolerance) << "element " << i;
  }
}

// sum_i weight[i] * y[i]: a loss whose gradient with respect to y is `weight`
inline double weighted_sum(const std::vector<double>& y, const std::vector<double>& weight) {
  double sum = 0;
  for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * weight[i];
  return sum;
}

}  // namespace orrery::test
