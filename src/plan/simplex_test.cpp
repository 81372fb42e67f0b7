#include "plan/simplex.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace orrery {
namespace {

// by sorting, as the released planner does it, in double
std::vector<double> projected(std::vector<double> v) {
  std::vector<double> sorted = v;
  std::sort(sorted.rbegin(), sorted.rend());
  double sum = 0, psi = 0;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    sum += sorted[i];
    const double threshold = (sum - 1) / static_cast<double>(i + 1);
    if (sorted[i] > threshold) psi = threshold;
  }
  for (double& x : v) x = std::max(x - psi, 0.0);
  return v;
}

TEST(Simplex, EqualsTheProjectionBySorting) {
  for (const i64 count : {1, 2, 3, 9, 64}) {
    for (const float size : {1e-4f, 1.0f, 30.0f, 1e6f}) {
      std::vector<float> row(static_cast<std::size_t>(count));
      fill_normal(3, static_cast<u64>(count), 0, count, row.data());
      for (float& v : row) v *= size;
      row[0] = row.back();  // equal numbers
      const auto expected = projected({row.begin(), row.end()});
      project_simplex({row.data(), {1, count}});
      double sum = 0;
      for (std::size_t i = 0; i < row.size(); ++i) {
        // the reference subtracts numbers of the input's size
        EXPECT_NEAR(static_cast<double>(row[i]), expected[i], 1e-7 + 1e-13 * size) << count;
        sum += static_cast<double>(row[i]);
      }
      EXPECT_NEAR(sum, 1.0, 1e-6);
    }
  }
}

TEST(Simplex, EndsWhateverComes) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kMax = std::numeric_limits<float>::max();
  std::vector<float> huge(3, kMax);
  project_simplex({huge.data(), {1, 3}});
  for (const float x : huge) EXPECT_FLOAT_EQ(x, 1.0f / 3);
  for (const float odd : {kInf, -kInf, std::nanf("")}) {
    std::vector<float> row = {0.5f, odd, 0.5f};
    project_simplex({row.data(), {1, 3}});
  }
}

TEST(Simplex, CategoriesThereAndBack) {
  const std::vector<i64> numbers = {2, 0, 1, 1};
  std::vector<float> weights(12);
  one_hot({numbers.data(), {2, 2}}, 3, {weights.data(), {2, 6}});
  EXPECT_EQ(weights, (std::vector<float>{0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0}));
  std::vector<i64> back(4);
  largest_categories({weights.data(), {2, 6}}, 3, {back.data(), {2, 2}});
  EXPECT_EQ(back, numbers);

  const std::vector<float> equal = {0.25f, 0.5f, 0.5f};
  i64 first = 0;
  largest_categories({equal.data(), {1, 3}}, 3, {&first, {1, 1}});
  EXPECT_EQ(first, 1);
  const i64 none = 3;
  EXPECT_THROW(one_hot({&none, {1, 1}}, 3, {weights.data(), {1, 3}}), Error);
}

}  // namespace
}  // namespace orrery
