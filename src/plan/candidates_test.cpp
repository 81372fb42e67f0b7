#include "plan/candidates.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using test::Buffer;
using testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST_ON_EVERY_BACKEND(Candidates, AreTheFormula) {
  const i64 group = 3, samples = 37, horizon = 4, dim = 5, kept = 3;
  const i64 width = horizon * dim;
  const auto random = [](u64 stream, i64 count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    fill_normal(7, stream, 0, count, values.data());
    return values;
  };
  const auto noise = random(1, group * samples * width), mean = random(2, group * width),
             std = random(3, group * width), best = random(4, group * kept * width);
  const std::vector<float> low = {-0.5f, -kInf, -1, -1, -3}, high = {0.5f, kInf, 0.25f, 1, 3};
  for (const i32 iteration : {0, 1, 6}) {
    Buffer<float> noises(ctx, noise), means(ctx, mean), stds(ctx, std), lows(ctx, low),
        highs(ctx, high), keep(ctx, best);
    Buffer<i32> progress(ctx, std::vector<i32>{iteration});
    // in place, as planners do it
    const auto x = noises.view<4>({group, samples, horizon, dim});
    sample_candidates<float>(ctx,
                             {.noise = x,
                              .mean = means.view<3>({group, horizon, dim}),
                              .std = stds.view<3>({group, horizon, dim}),
                              .low = lows.flat(),
                              .high = highs.flat(),
                              .kept = keep.view<4>({group, kept, horizon, dim}),
                              .iteration = progress.flat()},
                             x);
    const auto mine = noises.values();
    for (i64 e = 0; e < group; ++e) {
      for (i64 s = 0; s < samples; ++s) {
        for (i64 i = 0; i < width; ++i) {
          const auto at = static_cast<std::size_t>((e * samples + s) * width + i);
          const auto one = static_cast<std::size_t>(e * width + i);
          const auto d = static_cast<std::size_t>(i % dim);
          const float step = std[one] * noise[at];
          float needed = mean[one] + step;
          if (s == 0) needed = mean[one];
          if (s >= 1 && s <= kept && iteration > 0) {
            needed = best[static_cast<std::size_t>((e * kept + s - 1) * width + i)];
          }
          needed = std::min(std::max(needed, low[d]), high[d]);
          ASSERT_EQ(mine[at], needed) << e << ", " << s << ", " << i << " at " << iteration;
        }
      }
    }
  }
}

TEST_ON_EVERY_BACKEND(Candidates, NanStaysNanAndTheMeanIsFreeOfIt) {
  Buffer<float> x(ctx, std::vector<float>{9, 9, 9}), mean(ctx, std::vector<float>{0.5f}),
      std(ctx, std::vector<float>{kNan}), low(ctx, std::vector<float>{-1}),
      high(ctx, std::vector<float>{1});
  Buffer<i32> progress(ctx, 1);
  sample_candidates<float>(ctx,
                           {.noise = x.view<4>({1, 3, 1, 1}),
                            .mean = mean.view<3>({1, 1, 1}),
                            .std = std.view<3>({1, 1, 1}),
                            .low = low.flat(),
                            .high = high.flat(),
                            .kept = {},
                            .iteration = progress.flat()},
                           x.view<4>({1, 3, 1, 1}));
  EXPECT_THAT(x.values(), ElementsAre(0.5f, testing::IsNan(), testing::IsNan()));
}

TEST(Candidates, SayWhatDoesNotFit) {
  Context ctx({.threads = 1});
  std::vector<float> values(64);
  const i32 iteration = 0;
  const auto view = [&](View<float, 4>::Sizes sizes) {
    return View<float, 4>(values.data(), sizes);
  };
  const auto tried = [&](i64 noise_samples, i64 dim, i64 kept) {
    const View<const float, 3> one(values.data(), {1, 2, 2});
    const View<const float, 1> bound(values.data(), {dim});
    sample_candidates<float>(ctx,
                             {view({1, noise_samples, 2, 2}),
                              one,
                              one,
                              bound,
                              bound,
                              view({1, kept, 2, 2}),
                              {&iteration, {1}}},
                             view({1, 4, 2, 2}));
  };
  EXPECT_NO_THROW(tried(4, 2, 3));
  EXPECT_THROW(tried(3, 2, 3), Error);
  EXPECT_THROW(tried(4, 1, 3), Error);
  EXPECT_THROW(tried(4, 2, 4), Error);
}

}  // namespace
}  // namespace orrery
