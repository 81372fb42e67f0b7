#include "models/lewm/training_encoder.h"

#include <cmath>

#include "models/lewm/initialize.h"
#include "ops/test_support.h"

namespace orrery::lewm {
namespace {

using test::Buffer;

constexpr i64 kFrames = 3;

Config small_config() {
  Config config;
  config.encoder = {.image_size = 24, .patch = 4, .hidden = 32, .layers = 3, .heads = 2, .mlp = 48};
  return config;
}

struct Result {
  std::vector<float> cls, gradient;  // of the encoder's parameters
};

// both passes of the encoder with a loss that is a weighted sum of its latents
Result run(Context& ctx, const Config& config, Precision precision, Precision kept) {
  Weights weights(config);
  initialize(weights, 1);
  const i64 size = config.encoder.image_size;
  std::vector<u8> bytes(static_cast<std::size_t>(kFrames * size * size * 3));
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<u8>(philox(3, 1, i)[0]);

  Buffer<float> parameters(ctx, weights.parameters), gradient(ctx, parameters.count()),
      dcls(ctx, test::random_values(kFrames * config.encoder.hidden, 2));
  Buffer<u8> pixels(ctx, bytes);
  const Tensors tensors = bind(config, parameters.data(), nullptr);
  const Tensors slopes = bind(config, gradient.data(), nullptr);
  Arena measure;
  take_encoder(measure, config.encoder, kFrames, precision, kept);
  Block memory(ctx, measure.used());
  Arena arena(memory);
  TrainingEncoderState state = take_encoder(arena, config.encoder, kFrames, precision, kept);
  encoder_forward(ctx, config.encoder, tensors.encoder, pixels.view<4>({kFrames, size, size, 3}),
                  state);
  encoder_backward(ctx, config.encoder, tensors.encoder, slopes.encoder,
                   dcls.rows(config.encoder.hidden), state);
  Result result = {std::vector<float>(static_cast<std::size_t>(state.cls.numel())),
                   gradient.values()};
  ctx.download(result.cls.data(), state.cls.data(), result.cls.size() * sizeof(float));
  return result;
}

// norm of the difference over the norm of the second
double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / size);
}

TEST(CudaTrainingEncoder, EqualsTheCpuBothWays) {
  ORRERY_NEEDS_CUDA;
  Context ctx(test::on_cuda()), cpu({.threads = 2});
  Config hybrid = small_config();
  hybrid.encoder.meta_tokens = 2;
  for (const Config& config : {small_config(), hybrid}) {
    const Result exact = run(cpu, config, Precision::f32, Precision::f32);
    const Result same = run(ctx, config, Precision::f32, Precision::f32);
    // sums of up to a hundred terms in another order, through three layers
    EXPECT_LT(relative_difference(same.cls, exact.cls), 1e-5);
    EXPECT_LT(relative_difference(same.gradient, exact.gradient), 2e-5);
    for (const Precision kept : {Precision::f32, Precision::bf16}) {
      const Result mixed = run(ctx, config, Precision::bf16, kept);
      // factors are rounded by up to 2^-9 of themselves, a dozen products deep
      EXPECT_LT(relative_difference(mixed.cls, exact.cls), 0x1p-6) << name_of(kept);
      EXPECT_LT(relative_difference(mixed.gradient, exact.gradient), 0x1p-5) << name_of(kept);
      EXPECT_GT(relative_difference(mixed.gradient, exact.gradient), 1e-4) << "nothing was rounded";
    }
  }
}

TEST(TrainingEncoder, InBf16IsCloseToF32AndSteady) {
  Context one({.threads = 1}), three({.threads = 3});
  const Result exact = run(one, small_config(), Precision::f32, Precision::f32);
  for (const Precision kept : {Precision::f32, Precision::bf16}) {
    const Result mixed = run(one, small_config(), Precision::bf16, kept);
    // factors are rounded by up to 2^-9 of themselves, a dozen products deep
    EXPECT_LT(relative_difference(mixed.cls, exact.cls), 0x1p-6) << name_of(kept);
    EXPECT_LT(relative_difference(mixed.gradient, exact.gradient), 0x1p-5) << name_of(kept);
    EXPECT_GT(relative_difference(mixed.gradient, exact.gradient), 1e-4) << "nothing was rounded";
    const Result same = run(three, small_config(), Precision::bf16, kept);
    EXPECT_EQ(same.cls, mixed.cls) << name_of(kept);
    EXPECT_EQ(same.gradient, mixed.gradient) << name_of(kept);
  }
}

TEST(TrainingEncoder, RowsKeptAsBf16NeedProductsOfBf16) {
  Arena arena;
  EXPECT_THROW(
      take_encoder(arena, small_config().encoder, kFrames, Precision::f32, Precision::bf16), Error);
}

}  // namespace
}  // namespace orrery::lewm
