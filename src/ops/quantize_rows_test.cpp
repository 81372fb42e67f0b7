#include "ops/quantize_rows.h"

#include <cmath>
#include <limits>

#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

// the nearest of a format's values by trying all of them; ties go to the even code
float nearest_e4m3(double value) {
  int best = 0;
  double distance = std::numeric_limits<double>::infinity();
  for (int code = 0; code < 0x7f; ++code) {
    e4m3 candidate{};
    candidate.bits = static_cast<u8>(code);
    const double d = std::abs(static_cast<double>(static_cast<float>(candidate)) - std::abs(value));
    if (d < distance || (d == distance && code % 2 == 0)) {
      best = code;
      distance = d;
    }
  }
  e4m3 result{};
  result.bits = static_cast<u8>(best);
  return std::copysign(static_cast<float>(result), static_cast<float>(value));
}

TEST(E4m3, RoundsToTheNearest) {
  // every value, every middle between two, a little to both sides of it, and what saturates
  for (int code = 0; code < 0x7e; ++code) {
    e4m3 low{}, high{};
    low.bits = static_cast<u8>(code);
    high.bits = static_cast<u8>(code + 1);
    const float a = low, b = high;
    EXPECT_LT(a, b);
    const float middle = (a + b) / 2;
    for (const float v : {a, middle, std::nextafter(middle, a), std::nextafter(middle, b)}) {
      EXPECT_EQ(static_cast<float>(e4m3(v)), nearest_e4m3(v)) << v;
      EXPECT_EQ(static_cast<float>(e4m3(-v)), -nearest_e4m3(v)) << v;
    }
  }
  EXPECT_EQ(static_cast<float>(e4m3(1e30f)), 448.0f);
  EXPECT_EQ(static_cast<float>(e4m3(-std::numeric_limits<float>::infinity())), -448.0f);
  EXPECT_TRUE(std::isnan(static_cast<float>(e4m3(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(Bf16, RoundsToTheNearest) {
  EXPECT_EQ(bf16(1.0f).bits, 0x3f80);
  EXPECT_EQ(bf16(std::bit_cast<float>(0x3f808000u)).bits, 0x3f80);  // a tie, to even
  EXPECT_EQ(bf16(std::bit_cast<float>(0x3f818000u)).bits, 0x3f82);  // a tie, to even
  EXPECT_EQ(bf16(std::bit_cast<float>(0x3f808001u)).bits, 0x3f81);
  EXPECT_EQ(bf16(std::bit_cast<float>(0xbf807fffu)).bits, 0xbf80);
  EXPECT_EQ(bf16(std::numeric_limits<float>::max()).bits, 0x7f80);  // infinity is nearer
  // a NaN whose upper bits are all zero but the exponent's
  EXPECT_TRUE(std::isnan(static_cast<float>(bf16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_EQ(static_cast<float>(bf16(-0.0f)), 0.0f);
}

template <typename In, typename Code>
void expect_codes(Context& ctx, i64 rows, i64 inputs, float largest_code) {
  const auto x = converted<In>(random_values(rows * inputs, 1, 3.0f));
  Buffer<In> from(ctx, x);
  Buffer<Code> codes(ctx, rows * (inputs + 3));
  Buffer<float> scales(ctx, rows);
  quantize_rows(ctx, from.rows(inputs),
                View<Code, 2>(codes.data(), {rows, inputs}, {inputs + 3, 1}), scales.flat());
  const auto got = codes.values();
  const auto scale = scales.values();
  for (i64 r = 0; r < rows; ++r) {
    float largest = 0;
    const auto at = [&](i64 k) {
      return static_cast<float>(x[static_cast<std::size_t>(r * inputs + k)]);
    };
    for (i64 k = 0; k < inputs; ++k) largest = std::max(largest, std::abs(at(k)));
    EXPECT_EQ(scale[static_cast<std::size_t>(r)], largest / largest_code);
    for (i64 k = 0; k < inputs; ++k) {
      const float scaled = at(k) * (largest_code / largest);
      const float expected = largest_code == 127.0f ? std::nearbyint(scaled)
                                                    : nearest_e4m3(static_cast<double>(scaled));
      EXPECT_EQ(static_cast<float>(got[static_cast<std::size_t>(r * (inputs + 3) + k)]), expected)
          << r << ", " << k;
    }
    // what lies between rows stays
    for (i64 k = inputs; k < inputs + 3; ++k) {
      EXPECT_EQ(static_cast<float>(got[static_cast<std::size_t>(r * (inputs + 3) + k)]), 0.0f);
    }
  }
}

TEST_ON_EVERY_BACKEND(QuantizeRows, EqualsReference) {
  for (const i64 rows : {1, 5}) {
    for (const i64 inputs : {1, 31, 33, 100}) {
      expect_codes<float, i8>(ctx, rows, inputs, 127.0f);
      expect_codes<float, e4m3>(ctx, rows, inputs, 448.0f);
      expect_codes<bf16, i8>(ctx, rows, inputs, 127.0f);
      expect_codes<bf16, e4m3>(ctx, rows, inputs, 448.0f);
    }
  }
}

TEST_ON_EVERY_BACKEND(QuantizeRows, KnowsRowsThatHaveNoScale) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  // zeros, too small to tell, infinity, NaN before and after a larger number
  const std::vector<float> x = {0, 0, 1e-40f, -1e-40f, 1, kInfinity, kNaN, 2, 2, kNaN};
  Buffer<float> from(ctx, x), scales(ctx, 5);
  Buffer<i8> codes(ctx, std::vector<i8>(10, 9));
  quantize_rows(ctx, from.rows(2), codes.rows(2), scales.flat());
  EXPECT_EQ(codes.values(), std::vector<i8>(10, 0));
  const auto scale = scales.values();
  EXPECT_EQ(scale[0], 0.0f);
  EXPECT_EQ(scale[1], 0.0f);
  for (const std::size_t r : {2u, 3u, 4u}) EXPECT_TRUE(std::isnan(scale[r])) << r;
}

TEST(QuantizeRows, RefusesWhatDoesNotFit) {
  Context ctx({.threads = 1});
  const std::vector<float> x(6);
  std::vector<i8> codes(6);
  std::vector<float> scales(3);
  EXPECT_THROW(quantize_rows(ctx, View<const float, 2>(x.data(), {2, 3}),
                             View<i8, 2>(codes.data(), {3, 2}), View<float, 1>(scales.data(), {2})),
               Error);
  EXPECT_THROW(quantize_rows(ctx, View<const float, 2>(x.data(), {2, 3}),
                             View<i8, 2>(codes.data(), {2, 3}), View<float, 1>(scales.data(), {3})),
               Error);
}

}  // namespace
}  // namespace orrery
