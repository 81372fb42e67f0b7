#include "plan/coloured_noise.h"

#include <gmock/gmock.h>

#include <cmath>
#include <complex>
#include <numbers>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using test::Buffer;
using testing::HasSubstr;

// The definition, as it stands: there, weigh, and back.
std::vector<double> coloured_ref(const std::vector<double>& white, double beta) {
  const std::size_t length = white.size();
  const auto turn = [&](std::size_t k, std::size_t t) {
    const double angle =
        2 * std::numbers::pi * static_cast<double>(k * t) / static_cast<double>(length);
    return std::complex<double>(std::cos(angle), std::sin(angle));
  };
  std::vector<std::complex<double>> bins(length);
  for (std::size_t k = 0; k < length; ++k) {
    for (std::size_t t = 0; t < length; ++t) bins[k] += white[t] * std::conj(turn(k, t));
    const std::size_t bin = k == 0 ? 1 : std::min(k, length - k);
    bins[k] *= std::pow(static_cast<double>(bin) / static_cast<double>(length), -beta / 2);
  }
  std::vector<double> y(length);
  double mean = 0;
  for (std::size_t t = 0; t < length; ++t) {
    for (std::size_t k = 0; k < length; ++k) {
      y[t] += (bins[k] * turn(k, t)).real() / static_cast<double>(length);
    }
    mean += y[t] / static_cast<double>(length);
  }
  double squares = 0;
  for (const double value : y) squares += (value - mean) * (value - mean);
  for (double& value : y) value /= std::sqrt(squares / static_cast<double>(length - 1));
  return y;
}

TEST_ON_EVERY_BACKEND(ColouredNoise, IsTheDefinition) {
  for (const i64 horizon : {2, 3, 5, 8, 9, 64}) {
    for (const double beta : {0.0, 0.7, 2.0, 3.0}) {
      const i64 group = 2, samples = 3, dim = 5;
      std::vector<float> white(static_cast<std::size_t>(group * samples * dim * horizon));
      fill_normal(3, static_cast<u64>(horizon), 0, static_cast<i64>(white.size()), white.data());
      Buffer<float> from(ctx, white), to(ctx, static_cast<i64>(white.size()));
      Buffer<double> filter(ctx, colour_filter(horizon, beta));
      colour_noise<float>(ctx, from.view<4>({group, samples, dim, horizon}), filter.flat(),
                          to.view<4>({group, samples, horizon, dim}));
      const auto mine = to.values();
      for (i64 row = 0; row < group * samples; ++row) {
        for (i64 d = 0; d < dim; ++d) {
          const auto begin = white.begin() + (row * dim + d) * horizon;
          const auto needed = coloured_ref({begin, begin + horizon}, beta);
          for (i64 t = 0; t < horizon; ++t) {
            const double theirs = needed[static_cast<std::size_t>(t)];
            // doubles rounded once; the transforms' own error is horizon * 2^-52
            ASSERT_NEAR(mine[static_cast<std::size_t>((row * horizon + t) * dim + d)], theirs,
                        1e-7 * std::max(1.0, std::abs(theirs)))
                << "horizon " << horizon << ", beta " << beta << ", block " << t;
          }
        }
      }
    }
  }
}

TEST_ON_EVERY_BACKEND(ColouredNoise, StillNoiseStaysFinite) {
  // the same number in every block has no spread over time: it is divided by 1e-8
  Buffer<float> white(ctx, std::vector<float>{2, 2, 2, 2}), to(ctx, 4);
  Buffer<double> filter(ctx, colour_filter(4, 0));
  colour_noise<float>(ctx, white.view<4>({1, 1, 1, 4}), filter.flat(), to.view<4>({1, 1, 4, 1}));
  for (const float value : to.values()) EXPECT_NEAR(value, 2e8, 1e2);
}

TEST(ColouredNoise, SaysWhatHorizonItTakes) {
  const auto tried = [](i64 horizon, double beta) {
    try {
      colour_filter(horizon, beta);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(tried(2, 2), "accepted");
  EXPECT_EQ(tried(64, 2), "accepted");
  EXPECT_THAT(tried(1, 2), HasSubstr("1 blocks"));
  EXPECT_THAT(tried(65, 2), HasSubstr("65 blocks"));
  EXPECT_THAT(tried(5, std::nan("")), HasSubstr("nan"));
}

}  // namespace
}  // namespace orrery
