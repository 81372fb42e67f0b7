#include "ops/readout_targets.h"

#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;
using Kind = ReadoutTarget::Kind;

const std::vector<ReadoutTarget> kTargets = {{.place = 3, .mean = -1.5f, .scale = 0.25f},
                                             {.place = 1, .kind = Kind::cosine},
                                             {.place = 1, .kind = Kind::sine},
                                             {.place = 0, .mean = 2.0f, .scale = 3.0f}};
constexpr i64 kNumbers = 5;

std::vector<float> wanted_of(Context& ctx, const std::vector<float>& rows,
                             const std::vector<float>& guess) {
  Buffer<float> rows_(ctx, rows), guess_(ctx, guess);
  Buffer<float> wanted(ctx, static_cast<i64>(guess.size()));
  Buffer<ReadoutTarget> targets(ctx, kTargets);
  const auto width = static_cast<i64>(kTargets.size());
  readout_targets(ctx, rows_.rows(kNumbers), targets.flat(), guess_.rows(width),
                  wanted.rows(width));
  return wanted.values();
}

TEST_ON_EVERY_BACKEND(ReadoutTargets, NumbersAndAngles) {
  for (const i64 count : {1, 17, 999}) {
    const auto rows = random_values(count * kNumbers, 1, 3.0f);
    const auto found =
        wanted_of(ctx, rows, std::vector<float>(static_cast<std::size_t>(count) * 4, 9.0f));
    for (std::size_t r = 0; r < static_cast<std::size_t>(count); ++r) {
      const float* row = rows.data() + r * kNumbers;
      EXPECT_EQ(found[4 * r], (row[3] + 1.5f) / 0.25f);
      // one rounding of numbers up to sqrt(2)
      EXPECT_NEAR(found[4 * r + 1], std::sqrt(2.0) * std::cos(static_cast<double>(row[1])), 1.2e-7);
      EXPECT_NEAR(found[4 * r + 2], std::sqrt(2.0) * std::sin(static_cast<double>(row[1])), 1.2e-7);
      EXPECT_EQ(found[4 * r + 3], (row[0] - 2.0f) / 3.0f);
    }
  }
}

TEST_ON_EVERY_BACKEND(ReadoutTargets, WhatIsMissingIsWhatWasGuessed) {
  auto rows = random_values(2 * kNumbers, 2);
  rows[1] = NAN;
  rows[kNumbers + 3] = NAN;
  const std::vector<float> guess = {1, 2, 3, 4, 5, 6, 7, 8};
  const auto found = wanted_of(ctx, rows, guess);
  EXPECT_NE(found[0], 1.0f);
  EXPECT_EQ(found[1], 2.0f);
  EXPECT_EQ(found[2], 3.0f);
  EXPECT_EQ(found[4], 5.0f);
  EXPECT_NE(found[5], 6.0f);
}

TEST(ReadoutTargets, RefusesOtherSizes) {
  Context ctx({.threads = 1});
  Buffer<float> rows(ctx, 10), guess(ctx, 8), wanted(ctx, 6);
  Buffer<ReadoutTarget> targets(ctx, kTargets);
  EXPECT_THROW(readout_targets(ctx, rows.rows(5), targets.flat(), guess.rows(4), wanted.rows(3)),
               Error);
}

}  // namespace
}  // namespace orrery
