#include "nn/feed_forward.h"

#include <cmath>
#include <vector>

#include "ops/test_support.h"

namespace orrery::nn {
namespace {

using test::random_values;

constexpr i64 kRows = 5, kDim = 7, kMlp = 11;
constexpr float kEps = 1e-5f;

// Values of one layer in one block: norm gain and bias, up, down, each matrix before its bias.
constexpr i64 kCount = 2 * kDim + kMlp * kDim + kMlp + kDim * kMlp + kDim;

FeedForward layer_of(float* block) {
  float* up = block + 2 * kDim;
  float* down = up + kMlp * kDim + kMlp;
  return {{{block, {kDim}}, {block + kDim, {kDim}}},
          {{up, {kMlp, kDim}}, {up + kMlp * kDim, {kMlp}}},
          {{down, {kDim, kMlp}}, {down + kDim * kMlp, {kDim}}}};
}

// residual + down(gelu(up(norm(x)))), weighted and summed: plain loops in double
double reference_loss(const std::vector<double>& block, const std::vector<double>& x,
                      const std::vector<float>& weight) {
  const double* gain = block.data();
  const double* bias = gain + kDim;
  const double* up = bias + kDim;
  const double* up_bias = up + kMlp * kDim;
  const double* down = up_bias + kMlp;
  const double* down_bias = down + kDim * kMlp;
  double loss = 0;
  for (i64 r = 0; r < kRows; ++r) {
    const double* row = x.data() + r * kDim;
    double mean = 0, square = 0;
    for (i64 d = 0; d < kDim; ++d) mean += row[d] / kDim;
    for (i64 d = 0; d < kDim; ++d) square += (row[d] - mean) * (row[d] - mean) / kDim;
    std::vector<double> wide;
    for (i64 m = 0; m < kMlp; ++m) {
      double sum = up_bias[m];
      for (i64 d = 0; d < kDim; ++d) {
        const double normed = (row[d] - mean) / std::sqrt(square + double{kEps});
        sum += up[m * kDim + d] * (normed * gain[d] + bias[d]);
      }
      wide.push_back(sum * 0.5 * (1.0 + std::erf(sum / std::sqrt(2.0))));
    }
    for (i64 d = 0; d < kDim; ++d) {
      double sum = row[d] + down_bias[d];
      for (i64 m = 0; m < kMlp; ++m) sum += down[d * kMlp + m] * wide[static_cast<std::size_t>(m)];
      loss += sum * weight[static_cast<std::size_t>(r * kDim + d)];
    }
  }
  return loss;
}

TEST(FeedForward, GradientsEqualFiniteDifferencesInDouble) {
  Context ctx({.threads = 2});
  auto block = random_values(kCount, 1, 0.5f);
  auto x = random_values(kRows * kDim, 2);
  const auto weight = random_values(kRows * kDim, 3);
  const FeedForward layer = layer_of(block.data());
  Arena measure;
  take_feed_forward(measure, kRows, kDim, kMlp);
  Block memory(measure.used());
  Arena arena(memory);
  FeedForwardState state = take_feed_forward(arena, kRows, kDim, kMlp);

  const View<float, 2> input(x.data(), {kRows, kDim});
  std::vector<float> y(x.size()), gradient(block.size());
  feed_forward(ctx, Precision::f32, layer, kEps, {}, input, state, input,
               View<float, 2>(y.data(), {kRows, kDim}));
  std::vector<double> block64(block.begin(), block.end()), x64(x.begin(), x.end());
  double loss = 0;
  for (std::size_t i = 0; i < y.size(); ++i) loss += double{y[i]} * weight[i];
  EXPECT_NEAR(loss, reference_loss(block64, x64, weight), 1e-4);  // 35 terms of size 1 in f32

  // the residual's gradient is dy itself, to which that of the branch is added
  std::vector<float> dx = weight, narrow(x.size());
  std::vector<float> wide(static_cast<std::size_t>(kRows * kMlp));
  const View<float, 2> dy(dx.data(), {kRows, kDim});
  feed_forward_backward(ctx, Precision::f32, layer, layer_of(gradient.data()), {}, input, state, dy,
                        true, dy, View<float, 2>(narrow.data(), {kRows, kDim}),
                        View<float, 2>(wide.data(), {kRows, kMlp}));
  const auto value = [&] { return reference_loss(block64, x64, weight); };
  // f32 sums of a dozen terms up to 10
  test::expect_gradient(block64, std::vector<double>(gradient.begin(), gradient.end()), value,
                        2e-5);
  test::expect_gradient(x64, std::vector<double>(dx.begin(), dx.end()), value, 2e-5);
}

TEST(FeedForward, DropoutAndAResidualExcludeAnother) {
  Context ctx({.threads = 1});
  std::vector<float> block(kCount), x(kRows * kDim), y(x.size());
  Arena measure;
  take_feed_forward(measure, kRows, kDim, kMlp);
  Block memory(measure.used());
  Arena arena(memory);
  FeedForwardState state = take_feed_forward(arena, kRows, kDim, kMlp);
  const View<float, 2> input(x.data(), {kRows, kDim});
  const FeedForwardDropout drop{.out = {.rate = 0.1f}};
  EXPECT_THROW(feed_forward(ctx, Precision::f32, layer_of(block.data()), kEps, drop, input, state,
                            input, View<float, 2>(y.data(), {kRows, kDim})),
               Error);
}

// one pass both ways: y, dx and the gradient of the parameters, one after the other
std::vector<float> results_of(Precision precision, Precision kept) {
  Context ctx({.threads = 2});
  auto block = random_values<float>(kCount, 1), x = random_values<float>(kRows * kDim, 2);
  auto dy = random_values<float>(kRows * kDim, 3);
  std::vector<float> gradient(kCount), y(x.size()), scratch(kRows * (kDim + kMlp));
  Arena measure;
  take_feed_forward(measure, kRows, kDim, kMlp, kept);
  Block memory(measure.used());
  Arena arena(memory);
  FeedForwardState state = take_feed_forward(arena, kRows, kDim, kMlp, kept);
  const View<float, 2> input(x.data(), {kRows, kDim}), slopes(dy.data(), {kRows, kDim});
  const FeedForward layer = layer_of(block.data());
  feed_forward(ctx, precision, layer, kEps, {}, input, state, input,
               View<float, 2>(y.data(), {kRows, kDim}));
  feed_forward_backward(ctx, precision, layer, layer_of(gradient.data()), {}, input, state, slopes,
                        true, slopes, View<float, 2>(scratch.data(), {kRows, kDim}),
                        View<float, 2>(scratch.data() + kRows * kDim, {kRows, kMlp}));
  std::vector<float> all = y;
  all.insert(all.end(), dy.begin(), dy.end());
  all.insert(all.end(), gradient.begin(), gradient.end());
  return all;
}

TEST(FeedForward, ValuesKeptAsBf16AreCloseToThoseInF32) {
  const std::vector<float> exact = results_of(Precision::f32, Precision::f32);
  for (const Precision kept : {Precision::f32, Precision::bf16}) {
    const std::vector<float> mixed = results_of(Precision::bf16, kept);
    double difference = 0, size = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      difference += std::pow(static_cast<double>(mixed[i]) - static_cast<double>(exact[i]), 2);
      size += std::pow(static_cast<double>(exact[i]), 2);
    }
    // factors are rounded by up to 2^-9 of themselves, three products deep
    EXPECT_LT(std::sqrt(difference / size), 0x1p-7) << name_of(kept);
    EXPECT_GT(difference, 0.0);
  }
}

}  // namespace
}  // namespace orrery::nn
