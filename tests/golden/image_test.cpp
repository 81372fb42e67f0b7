#include "ops/image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <vector>

#include <nlohmann/json.hpp>

#include "io/safetensors.h"
#include "tests/golden/shared.h"

namespace orrery {
namespace {

double max_difference(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  double worst = 0;
  for (std::size_t i = 0; i < a.span<float>().size(); ++i) {
    const double difference =
        std::abs(static_cast<double>(a.span<float>()[i]) - static_cast<double>(b.span<float>()[i]));
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

TEST(GoldenImage, EveryByteIsNormalisedAsTorchvisionDoes) {
  const auto path = shared_folder() / "golden/lewm/tiny/resize.safetensors";
  ORRERY_NEEDS_SHARED(path);
  const Tensor table = read_safetensors(path).at("normalise_table").clone();
  std::vector<u8> bytes;
  for (int value = 0; value < 256; ++value) bytes.insert(bytes.end(), 3, static_cast<u8>(value));
  std::vector<float> out(bytes.size());
  Context ctx;
  normalize_images(ctx, View<const u8, 4>(bytes.data(), {1, 1, 256, 3}),
                   View<float, 4>(out.data(), {1, 3, 1, 256}));
  for (i64 value = 0; value < 256; ++value) {
    for (i64 c = 0; c < 3; ++c) {
      EXPECT_EQ(out[static_cast<std::size_t>(c * 256 + value)], (table.view<float, 2>()(value, c)))
          << value;
    }
  }
}

TEST(GoldenImage, ResizeIsTorchvisionsAntialiasedOne) {
  const auto path = shared_folder() / "golden/lewm/tiny/resize.safetensors";
  ORRERY_NEEDS_SHARED(path);
  const TensorMap golden = read_safetensors(path);
  Context ctx;
  int cases = 0;
  for (const auto& [name, expected] : golden) {
    int height = 0, width = 0, size = 0;
    if (std::sscanf(name.c_str(), "out_%dx%d_to_%d", &height, &width, &size) != 3) continue;
    const Tensor& bytes = golden.at(text("in_u8_", height, "x", width));
    Tensor normalized = Tensor::zeros<float>({1, 3, height, width});
    normalize_images(ctx, bytes.view<u8, 4>(), normalized.view<float, 4>());
    Tensor out(DType::f32, expected.shape());
    resize_antialias(ctx, normalized.view<float, 4>(), out.view<float, 4>());
    // the recorded values are torch's f32 ones, which take tap positions in f32 and are up
    // to 2.1e-5 off the exact
    EXPECT_LE(max_difference(out, expected), 3e-5) << name;
    ++cases;
  }
  EXPECT_GT(cases, 0);
}

TEST(GoldenImage, PositionGridsAreResampledAsTheOfficialEncoderDoes) {
  const auto folder = shared_folder() / "golden/lewm/tiny";
  ORRERY_NEEDS_SHARED(folder / "b/expect.safetensors");
  const TensorMap golden = read_safetensors(folder / "b/expect.safetensors");
  std::ifstream tolerance_file(folder / "tolerance.json");
  const auto tolerances = nlohmann::json::parse(tolerance_file).at("b");
  std::ifstream config_file(folder / "b/config.json");
  const auto encoder = nlohmann::json::parse(config_file).at("encoder");
  const i64 patch = encoder.at("patch_size").get<i64>();
  const i64 image = encoder.at("image_size").get<i64>();

  // at the configured size the positions are the learned ones; token 0 is the class token
  const Tensor& learned = golden.at(text("positions_", image, "x", image));
  const i64 grid = image / patch;
  const i64 dim = learned.size(2);
  const View<const float, 3> from(learned.data<float>() + dim, {grid, grid, dim});
  Context ctx;
  int cases = 0;
  for (const auto& [name, expected] : golden) {
    int height = 0, width = 0;
    if (std::sscanf(name.c_str(), "positions_%dx%d", &height, &width) != 2) continue;
    const i64 rows = height / patch, cols = width / patch;
    // square pictures with the learned number of patches take the positions unchanged
    if (height == width && rows == grid) continue;
    Tensor out = Tensor::zeros<float>({1, 1 + rows * cols, dim});
    std::memcpy(out.data<float>(), learned.data<float>(),
                static_cast<std::size_t>(dim) * sizeof(float));
    bicubic_grid(ctx, from, View<float, 3>(out.data<float>() + dim, {rows, cols, dim}));
    const double noise = tolerances.at(name).at("max_abs_diff_f32").get<double>();
    EXPECT_GT(noise, 0) << name;
    EXPECT_LE(max_difference(out, expected), 10 * noise) << name;
    ++cases;
  }
  EXPECT_GT(cases, 0);
}

}  // namespace
}  // namespace orrery
