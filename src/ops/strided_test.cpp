#include "ops/strided.h"

#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

TEST_ON_EVERY_BACKEND(Strided, CopiesAndAddsBlocksThatLieApart) {
  for (const i64 width : {1, 15, 16, 17, 192, 999}) {
    const auto from = random_values(5 * width, 1);
    const auto before = random_values(4 * 7 * width, 2);
    Buffer<float> from_there(ctx, from), to_there(ctx, before);
    // one row block of 5, repeated for each of 4, into rows 1 .. 5 of 7
    const View<const float, 3> repeated(from_there.data(), {4, 5, width}, {0, width, 1});
    const View<float, 3> part = to_there.view<3>({4, 7, width}).slice(1, 1, 6);
    add_to(ctx, repeated, part);
    auto to = to_there.values();
    for (i64 i = 0; i < 4 * 7 * width; ++i) {
      const i64 row = i / width % 7;
      const bool inside = row >= 1 && row < 6;
      const auto at = static_cast<std::size_t>(i);
      const float added =
          inside ? from[static_cast<std::size_t>((row - 1) * width + i % width)] : 0.0f;
      EXPECT_EQ(to[at], before[at] + added) << "width " << width << " element " << i;
    }
    copy(ctx, repeated, part);
    to = to_there.values();
    for (i64 i = 0; i < 4 * 7 * width; ++i) {
      const i64 row = i / width % 7;
      const auto at = static_cast<std::size_t>(i);
      EXPECT_EQ(to[at], row >= 1 && row < 6
                            ? from[static_cast<std::size_t>((row - 1) * width + i % width)]
                            : before[at]);
    }
  }
}

TEST_ON_EVERY_BACKEND(Strided, CopiesNumbersAndNothingElse) {
  for (const i64 width : {1, 10, 16, 33}) {
    auto from = random_values(2 * 3 * width, 1);
    from[0] = NAN;
    from[from.size() / 2] = -NAN;
    from.back() = INFINITY;
    Buffer<float> from_there(ctx, from), to_there(ctx, 2 * 2 * width);
    // the first two rows of each three
    copy_numbers(ctx, from_there.view<3>({2, 3, width}).slice(1, 0, 2),
                 to_there.view<3>({2, 2, width}));
    const auto to = to_there.values();
    for (i64 i = 0; i < 2 * 2 * width; ++i) {
      const i64 row = i / width;
      const float came =
          from[static_cast<std::size_t>((row / 2 * 3 + row % 2) * width + i % width)];
      EXPECT_EQ(to[static_cast<std::size_t>(i)], std::isnan(came) ? 0.0f : came) << i;
    }
  }
}

TEST_ON_EVERY_BACKEND(Strided, AddsTwoBlocksThatLieApart) {
  for (const i64 width : {1, 15, 16, 17, 192}) {
    const auto a = random_values(3 * 4 * width, 1), b = random_values(5 * width, 2);
    const auto before = random_values(3 * 5 * width, 3);
    Buffer<float> a_there(ctx, a), b_there(ctx, b), to_there(ctx, before);
    // one row block of 4, the second to the fifth of b, added to each of 3, into rows 1 .. 4 of 5
    const View<const float, 3> repeated(b_there.data() + width, {3, 4, width}, {0, width, 1});
    add(ctx, a_there.view<3>({3, 4, width}), repeated,
        to_there.view<3>({3, 5, width}).slice(1, 1, 5));
    const auto to = to_there.values();
    for (i64 i = 0; i < 3 * 5 * width; ++i) {
      const i64 block = i / width / 5, row = i / width % 5, k = i % width;
      const float expected = row == 0
                                 ? before[static_cast<std::size_t>(i)]
                                 : a[static_cast<std::size_t>((block * 4 + row - 1) * width + k)] +
                                       b[static_cast<std::size_t>(row * width + k)];
      EXPECT_EQ(to[static_cast<std::size_t>(i)], expected) << "width " << width << " element " << i;
    }
  }
}

TEST_ON_EVERY_BACKEND(Strided, Fills) {
  for (const i64 count : {0, 1, 7, 40000}) {
    Buffer<float> x(ctx, std::vector<float>(static_cast<std::size_t>(count), 1.0f));
    fill(ctx, 0.25f, x.flat());
    for (const float value : x.values()) EXPECT_EQ(value, 0.25f);
  }
}

TEST(Strided, NamesWhatDoesNotFit) {
  Context ctx({.threads = 2});
  std::vector<float> x(60);
  const View<float, 3> a(x.data(), {2, 3, 4}), b(x.data() + 24, {2, 3, 5});
  EXPECT_THROW(copy(ctx, a, b), Error);
}

}  // namespace
}  // namespace orrery
