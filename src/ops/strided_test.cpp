#include "ops/strided.h"

#include "ops/test_support.h"

namespace orrery {
namespace {

using test::random_values;
using test::view1;

TEST(Strided, CopiesAndAddsBlocksThatLieApart) {
  Context ctx({.threads = 2});
  for (const i64 width : {1, 15, 16, 17, 999}) {
    const auto from = random_values(5 * width, 1);
    auto to = random_values(4 * 7 * width, 2);
    const auto before = to;
    // one row block of 5, repeated for each of 4, into rows 1 .. 5 of 7
    const View<const float, 3> repeated(from.data(), {4, 5, width}, {0, width, 1});
    const View<float, 3> part = View<float, 3>(to.data(), {4, 7, width}).slice(1, 1, 6);
    add_to(ctx, repeated, part);
    for (i64 i = 0; i < 4 * 7 * width; ++i) {
      const i64 row = i / width % 7;
      const bool inside = row >= 1 && row < 6;
      const auto at = static_cast<std::size_t>(i);
      const float added =
          inside ? from[static_cast<std::size_t>((row - 1) * width + i % width)] : 0.0f;
      EXPECT_EQ(to[at], before[at] + added) << "width " << width << " element " << i;
    }
    copy(ctx, repeated, part);
    for (i64 i = 0; i < 4 * 7 * width; ++i) {
      const i64 row = i / width % 7;
      const auto at = static_cast<std::size_t>(i);
      EXPECT_EQ(to[at], row >= 1 && row < 6
                            ? from[static_cast<std::size_t>((row - 1) * width + i % width)]
                            : before[at]);
    }
  }
}

TEST(Strided, FillsAndNamesWhatDoesNotFit) {
  Context ctx({.threads = 2});
  std::vector<float> x(40000, 1.0f);
  fill(ctx, 0.25f, view1(x));
  for (const float value : x) EXPECT_EQ(value, 0.25f);
  const View<float, 3> a(x.data(), {2, 3, 4}), b(x.data() + 24, {2, 3, 5});
  EXPECT_THROW(copy(ctx, a, b), Error);
}

}  // namespace
}  // namespace orrery
