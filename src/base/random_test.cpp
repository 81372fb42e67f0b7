#include "base/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace orrery {
namespace {

// known answers published with the Random123 library (philox4x32 10 rounds)
TEST(Philox, EqualsPublishedVectors) {
  EXPECT_EQ(philox(0, 0, 0),
            (std::array<u32, 4>{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_EQ(philox(~u64{0}, ~u64{0}, ~u64{0}),
            (std::array<u32, 4>{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
}

TEST(Normal, HasUnitMoments) {
  std::vector<float> x(200000);
  fill_normal(1, 2, 0, static_cast<i64>(x.size()), x.data());
  double sum = 0, squares = 0, fourth = 0;
  for (const double v : x) {
    sum += v;
    squares += v * v;
    fourth += v * v * v * v;
  }
  const double n = static_cast<double>(x.size());
  EXPECT_NEAR(sum / n, 0, 4 / std::sqrt(n));          // four standard errors
  EXPECT_NEAR(squares / n, 1, 4 * std::sqrt(2 / n));  // var of x^2 is 2
  EXPECT_NEAR(fourth / n, 3, 4 * std::sqrt(96 / n));  // var of x^4 is 96
}

TEST(Normal, FillEqualsSingleDraws) {
  std::vector<float> x(7);
  fill_normal(9, 4, 3, 7, x.data());
  for (u64 i = 0; i < 7; ++i) EXPECT_EQ(x[i], normal(9, 4, 3 + i));
}

TEST(PermutedIndex, IsABijection) {
  for (const u64 count : {1u, 2u, 3u, 4u, 5u, 17u, 64u, 1000u, 4097u}) {
    std::set<u64> seen;
    for (u64 i = 0; i < count; ++i) {
      const u64 v = permuted_index(count * 31, count, i);
      EXPECT_LT(v, count);
      seen.insert(v);
    }
    EXPECT_EQ(seen.size(), count);
  }
}

TEST(Random, BelowStaysInRange) {
  Random random(3, 1);
  for (int i = 0; i < 1000; ++i) EXPECT_LT(random.below(7), 7u);
}

}  // namespace
}  // namespace orrery
