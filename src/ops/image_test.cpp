#include "ops/image.h"

#include "ops/image_ref.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

std::vector<u8> random_bytes(i64 count, u64 seed) {
  std::vector<u8> bytes(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<u8>(philox(seed, 5, i)[0]);
  return bytes;
}

TEST_ON_EVERY_BACKEND(Image, NormalizesEveryByteExactly) {
  std::vector<u8> bytes;
  for (int value = 0; value < 256; ++value) {
    for (int c = 0; c < 3; ++c) bytes.push_back(static_cast<u8>(value));
  }
  std::vector<float> expected(bytes.size());
  normalize_images_ref(View<const u8, 4>(bytes.data(), {1, 4, 64, 3}),
                       View<float, 4>(expected.data(), {1, 3, 4, 64}));
  Buffer<u8> from(ctx, bytes);
  Buffer<float> to(ctx, 3 * 256);
  normalize_images(ctx, from.view<4>({1, 4, 64, 3}), to.view<4>({1, 3, 4, 64}));
  const auto out = to.values();
  EXPECT_TRUE(same_bits(out, expected));
  // black and white, green channel, by hand
  EXPECT_FLOAT_EQ(out[256], -0.456f / 0.224f);
  EXPECT_FLOAT_EQ(out[256 + 255], (1.0f - 0.456f) / 0.224f);
}

TEST_ON_EVERY_BACKEND(Image, PatchRowsEqualReferenceAndEachOther) {
  for (const i64 patch : {1, 3, 4, 7}) {
    // the last rows and columns belong to no patch
    const i64 n = 2, height = 17, width = 22;
    const auto bytes = random_bytes(n * height * width * 3, 1);
    std::vector<float> image(bytes.size());
    const View<float, 4> image_view(image.data(), {n, 3, height, width});
    normalize_images_ref(View<const u8, 4>(bytes.data(), {n, height, width, 3}), image_view);
    const i64 patches = (height / patch) * (width / patch);
    const View<float, 3>::Sizes sizes = {n, patches, 3 * patch * patch};
    std::vector<float> expected(static_cast<std::size_t>(n * patches * 3 * patch * patch));
    patch_rows_ref(image_view, patch, View<float, 3>(expected.data(), sizes));

    const auto count = static_cast<i64>(expected.size());
    Buffer<u8> bytes_there(ctx, bytes);
    Buffer<float> image_there(ctx, image), out(ctx, count), direct(ctx, count);
    patch_rows(ctx, image_there.view<4>({n, 3, height, width}), patch, out.view<3>(sizes));
    patch_rows_from_bytes(ctx, bytes_there.view<4>({n, height, width, 3}), patch,
                          direct.view<3>(sizes));
    EXPECT_TRUE(same_bits(out.values(), expected)) << "patch " << patch;
    EXPECT_TRUE(same_bits(direct.values(), expected)) << "patch " << patch;
  }
}

struct ResizeCase {
  i64 in_h, in_w, out_h, out_w;
};
constexpr ResizeCase kResizes[] = {{5, 7, 5, 7}, {40, 50, 9, 31}, {3, 2, 8, 9},
                                   {1, 1, 4, 4}, {64, 33, 1, 1},  {57, 57, 56, 56}};

std::vector<float> resized(Context& ctx, const std::vector<float>& in, const ResizeCase& s) {
  Buffer<float> from(ctx, in), to(ctx, 2 * 3 * s.out_h * s.out_w);
  resize_antialias(ctx, from.view<4>({2, 3, s.in_h, s.in_w}), to.view<4>({2, 3, s.out_h, s.out_w}));
  return to.values();
}

TEST_ON_EVERY_BACKEND(Image, ResizeEqualsReference) {
  for (const ResizeCase& s : kResizes) {
    const auto in = random_values(2 * 3 * s.in_h * s.in_w, 1);
    std::vector<float> expected(static_cast<std::size_t>(2 * 3 * s.out_h * s.out_w));
    resize_antialias_ref(View<const float, 4>(in.data(), {2, 3, s.in_h, s.in_w}),
                         View<float, 4>(expected.data(), {2, 3, s.out_h, s.out_w}));
    const auto out = resized(ctx, in, s);
    // two passes, weights that sum to 1, values up to 4
    EXPECT_LE(max_difference(out, expected), 2e-6) << s.in_h << " x " << s.in_w;
    if (s.in_h == s.out_h && s.in_w == s.out_w) {
      EXPECT_TRUE(same_bits(out, in));
    }
  }
}

TEST(CudaImage, ResizesToTheSameBitsAsTheCpu) {
  ORRERY_NEEDS_CUDA;
  Context device(on_cuda()), host({.threads = 1});
  for (const ResizeCase& s : kResizes) {
    const auto in = random_values(2 * 3 * s.in_h * s.in_w, 1);
    EXPECT_TRUE(same_bits(resized(device, in, s), resized(host, in, s)))
        << s.in_h << " x " << s.in_w;
  }
}

TEST_ON_EVERY_BACKEND(Image, BicubicEqualsReferenceAndKeepsTheSameSize) {
  for (const i64 height : {1, 3, 4, 9}) {
    for (const i64 width : {2, 4, 11}) {
      const auto in = random_values(4 * 4 * 5, 1);
      std::vector<float> expected(static_cast<std::size_t>(height * width * 5));
      bicubic_grid_ref(View<const float, 3>(in.data(), {4, 4, 5}),
                       View<float, 3>(expected.data(), {height, width, 5}));
      Buffer<float> from(ctx, in), to(ctx, height * width * 5);
      bicubic_grid(ctx, from.view<3>({4, 4, 5}), to.view<3>({height, width, 5}));
      const auto out = to.values();
      // sixteen terms, weights below 1.3 in sum of sizes squared, values up to 4
      EXPECT_LE(max_difference(out, expected), 4e-6) << height << " x " << width;
      if (height == 4 && width == 4) {
        EXPECT_TRUE(same_bits(out, in));
      }
    }
  }
}

TEST(Image, RefusesWrongShapes) {
  Context ctx({.threads = 1});
  std::vector<u8> bytes(4 * 4 * 4);
  std::vector<float> out(64);
  EXPECT_THROW(normalize_images(ctx, View<const u8, 4>(bytes.data(), {1, 4, 4, 4}),
                                View<float, 4>(out.data(), {1, 4, 4, 4})),
               Error);
  EXPECT_THROW(patch_rows(ctx, View<const float, 4>(out.data(), {1, 1, 4, 4}), 0,
                          View<float, 3>(out.data(), {1, 4, 4})),
               Error);
  EXPECT_THROW(patch_rows(ctx, View<const float, 4>(out.data(), {1, 1, 4, 4}), 2,
                          View<float, 3>(out.data(), {1, 3, 4})),
               Error);
}

}  // namespace
}  // namespace orrery
