#include "ops/packed_image.h"

#include <algorithm>

#include "ops/image_ref.h"
#include "ops/packed_image_ref.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

std::vector<u8> random_bytes(i64 count, u64 seed) {
  std::vector<u8> bytes(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<u8>(philox(seed, 5, i)[0]);
  return bytes;
}

// Frames of random bytes with gaps between rows and between images, where the host and where a
// context reads them.
struct Frames {
  std::vector<u8> pixels, chroma;
  PackedImages images;

  Frames(PixelFormat format, i64 count, i64 height, i64 width) {
    const bool nv12 = format == PixelFormat::nv12;
    images = {.format = format, .count = count, .height = height, .width = width};
    fill(images.pixels, pixels, (nv12 ? width : 3 * width) + 5, height, 1);
    if (nv12) fill(images.chroma, chroma, (width + 1) / 2 * 2 + 3, (height + 1) / 2, 2);
  }
  void fill(PixelPlane& plane, std::vector<u8>& bytes, i64 pitch, i64 rows, u64 seed) const {
    plane.pitch = pitch;
    plane.image_pitch = pitch * rows + 11;
    bytes = random_bytes(images.count * plane.image_pitch, seed);
  }
  PackedImages on_host() const {
    PackedImages result = images;
    result.pixels.data = pixels.data();
    result.chroma.data = chroma.data();
    return result;
  }
};

// a call with its frames and result where the context works
template <typename T = float>
std::vector<T> rows_of(Context& ctx, const Frames& frames, i64 patch, PatchValues values) {
  Buffer<u8> pixels(ctx, frames.pixels), chroma(ctx, frames.chroma);
  PackedImages images = frames.images;
  images.pixels.data = pixels.data();
  images.chroma.data = frames.chroma.empty() ? nullptr : chroma.data();
  const bool resizes = images.resized_height != 0;
  const i64 height = resizes ? images.resized_height : images.height;
  const i64 width = resizes ? images.resized_width : images.width;
  const i64 patches = (height / patch) * (width / patch), size = 3 * patch * patch;
  Buffer<T> out(ctx, images.count * patches * size);
  patch_rows_from_packed(ctx, images, patch, values,
                         out.template view<3>({images.count, patches, size}));
  return out.values();
}

// the frames as [n, h, w, 3] bytes: patches of one pixel are just that
std::vector<float> bytes_of(Context& ctx, const Frames& frames) {
  return rows_of(ctx, frames, 1, PatchValues::bytes);
}

// [n, h, w, 3] -> [n, 3, h, w] through `change` of value and channel, then patch rows
template <typename Change>
std::vector<float> patched(const std::vector<float>& bytes, i64 n, i64 height, i64 width, i64 patch,
                           const Change& change) {
  std::vector<float> planes(bytes.size());
  const View<float, 4> image(planes.data(), {n, 3, height, width});
  const View<const float, 4> from(bytes.data(), {n, height, width, 3});
  for (i64 i = 0; i < n; ++i) {
    for (i64 y = 0; y < height; ++y) {
      for (i64 x = 0; x < width; ++x) {
        for (i64 c = 0; c < 3; ++c) image(i, c, y, x) = change(from(i, y, x, c), c);
      }
    }
  }
  const i64 patches = (height / patch) * (width / patch), size = 3 * patch * patch;
  std::vector<float> rows(static_cast<std::size_t>(n * patches * size));
  patch_rows_ref(image, patch, View<float, 3>(rows.data(), {n, patches, size}));
  return rows;
}

TEST_ON_EVERY_BACKEND(PackedImage, BytesAreTakenFromAnyPitchAndOrder) {
  for (const PixelFormat format : {PixelFormat::rgb, PixelFormat::bgr}) {
    const Frames frames(format, 2, 7, 9);
    const auto bytes = bytes_of(ctx, frames);
    const PackedImages on_host = frames.on_host();
    for (i64 n = 0; n < 2; ++n) {
      for (i64 y = 0; y < 7; ++y) {
        for (i64 x = 0; x < 9; ++x) {
          for (i64 c = 0; c < 3; ++c) {
            const i64 place = format == PixelFormat::rgb ? c : 2 - c;
            EXPECT_EQ(bytes[static_cast<std::size_t>(((n * 7 + y) * 9 + x) * 3 + c)],
                      on_host.pixels.data[n * on_host.pixels.image_pitch +
                                          y * on_host.pixels.pitch + 3 * x + place]);
          }
        }
      }
    }
  }
}

TEST_ON_EVERY_BACKEND(PackedImage, PatchesHoldBytesOrNormalisedValuesExactly) {
  for (const PixelFormat format : {PixelFormat::bgr, PixelFormat::nv12}) {
    for (const i64 patch : {2, 5}) {
      const Frames frames(format, 2, 13, 11);
      const auto bytes = bytes_of(ctx, frames);
      const auto raw = patched(bytes, 2, 13, 11, patch, [](float value, i64) { return value; });
      const auto normed = patched(bytes, 2, 13, 11, patch, [](float value, i64 c) {
        return normalized_byte(static_cast<u8>(value), c);
      });
      EXPECT_TRUE(same_bits(rows_of(ctx, frames, patch, PatchValues::bytes), raw));
      EXPECT_TRUE(same_bits(rows_of(ctx, frames, patch, PatchValues::normalized), normed));

      // bytes are exact in bf16; normalised values are rounded once
      const auto raw_bf16 = rows_of<bf16>(ctx, frames, patch, PatchValues::bytes);
      EXPECT_TRUE(same_bits(converted<float>(raw_bf16), raw));
      std::vector<bf16> rounded;
      for (const float value : normed) rounded.push_back(bf16(value));
      EXPECT_TRUE(same_bits(rows_of<bf16>(ctx, frames, patch, PatchValues::normalized), rounded));
    }
  }
}

TEST_ON_EVERY_BACKEND(PackedImage, Nv12FollowsTheStandards) {
  for (const auto& [height, width] : {std::pair<i64, i64>{6, 8}, {7, 5}, {1, 1}, {1, 6}, {9, 2}}) {
    for (const YuvMatrix matrix : {YuvMatrix::bt601, YuvMatrix::bt709}) {
      for (const YuvRange range : {YuvRange::limited, YuvRange::full}) {
        for (const ChromaFilter filter : {ChromaFilter::nearest, ChromaFilter::bilinear}) {
          Frames frames(PixelFormat::nv12, 2, height, width);
          frames.images.matrix = matrix;
          frames.images.range = range;
          frames.images.chroma_filter = filter;
          const auto bytes = bytes_of(ctx, frames);
          const PackedImages on_host = frames.on_host();
          double worst = 0;
          std::size_t at = 0;
          for (i64 n = 0; n < 2; ++n) {
            for (i64 y = 0; y < height; ++y) {
              for (i64 x = 0; x < width; ++x) {
                for (const double exact : nv12_pixel_ref(on_host, n, y, x)) {
                  EXPECT_EQ(bytes[at], std::floor(bytes[at]));
                  worst = std::max(worst, std::abs(bytes[at++] - exact));
                }
              }
            }
          }
          // half a byte of rounding; factors are good to 2^-17, and meet 239 + 2 * 128
          EXPECT_LE(worst, 0.51) << height << " x " << width;
        }
      }
    }
  }
}

TEST_ON_EVERY_BACKEND(PackedImage, KnowsTheKnownColours) {
  struct Colour {
    YuvMatrix matrix;
    YuvRange range;
    u8 y, cb, cr;
    int red, green, blue;
  };
  // primaries at full strength, and greys, as tables of the standards' colour bars have them
  const YuvMatrix sd = YuvMatrix::bt601, hd = YuvMatrix::bt709;
  const YuvRange limited = YuvRange::limited, full = YuvRange::full;
  for (const Colour& colour : {Colour{sd, limited, 16, 128, 128, 0, 0, 0},
                               {sd, limited, 235, 128, 128, 255, 255, 255},
                               {sd, limited, 81, 90, 240, 255, 0, 0},
                               {sd, limited, 145, 54, 34, 0, 255, 0},
                               {sd, limited, 41, 240, 110, 0, 0, 255},
                               {hd, limited, 63, 102, 240, 255, 0, 0},
                               {hd, limited, 173, 42, 26, 0, 255, 0},
                               {hd, limited, 32, 240, 118, 0, 0, 255},
                               {sd, full, 76, 85, 255, 255, 0, 0},
                               {sd, full, 77, 128, 128, 77, 77, 77},
                               {sd, limited, 5, 128, 128, 0, 0, 0},
                               {hd, limited, 250, 128, 128, 255, 255, 255}}) {
    Frames frames(PixelFormat::nv12, 1, 2, 2);
    frames.images.matrix = colour.matrix;
    frames.images.range = colour.range;
    std::fill(frames.pixels.begin(), frames.pixels.end(), colour.y);
    for (std::size_t i = 0; i < frames.chroma.size(); ++i) {
      frames.chroma[i] = i % 2 == 0 ? colour.cb : colour.cr;
    }
    const auto bytes = bytes_of(ctx, frames);
    // luma and chroma of the tables are themselves rounded: 2 of 255
    EXPECT_NEAR(bytes[0], colour.red, 2) << int{colour.y};
    EXPECT_NEAR(bytes[1], colour.green, 2) << int{colour.y};
    EXPECT_NEAR(bytes[2], colour.blue, 2) << int{colour.y};
  }
}

TEST_ON_EVERY_BACKEND(PackedImage, ResizesOnTheWay) {
  for (const PixelFormat format : {PixelFormat::bgr, PixelFormat::nv12}) {
    for (const auto& [height, width] : {std::pair<i64, i64>{6, 8}, {11, 5}, {24, 30}}) {
      Frames frames(format, 2, 15, 21);
      const auto bytes = bytes_of(ctx, frames);
      std::vector<float> in(bytes.size());  // in planes, as the reference wants them
      for (std::size_t i = 0; i < in.size(); ++i) {
        const std::size_t pixel = i % (15 * 21), c = i / (15 * 21) % 3, n = i / (3 * 15 * 21);
        in[i] = bytes[(n * 15 * 21 + pixel) * 3 + c];
      }
      std::vector<float> resized(static_cast<std::size_t>(2 * 3 * height * width));
      const View<float, 4> resized_view(resized.data(), {2, 3, height, width});
      resize_antialias_ref(View<const float, 4>(in.data(), {2, 3, 15, 21}), resized_view);
      const i64 patch = 2, patches = (height / patch) * (width / patch);
      std::vector<float> expected(static_cast<std::size_t>(2 * patches * 12));
      patch_rows_ref(resized_view, patch, View<float, 3>(expected.data(), {2, patches, 12}));

      frames.images.resized_height = height;
      frames.images.resized_width = width;
      // two passes over values up to 255, weights that sum to 1
      EXPECT_LE(max_difference(rows_of(ctx, frames, patch, PatchValues::bytes), expected), 2e-4);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        expected[i] = normalized_value(expected[i], static_cast<i64>(i / 4 % 3));
      }
      EXPECT_LE(max_difference(rows_of(ctx, frames, patch, PatchValues::normalized), expected),
                4e-6);
    }
  }
}

TEST_ON_EVERY_BACKEND(PackedImage, TheSameSizeIsNoResizing) {
  Frames frames(PixelFormat::nv12, 1, 8, 6);
  const auto plain = rows_of(ctx, frames, 2, PatchValues::normalized);
  frames.images.resized_height = 8;
  frames.images.resized_width = 6;
  EXPECT_TRUE(same_bits(rows_of(ctx, frames, 2, PatchValues::normalized), plain));
}

TEST(CudaPackedImage, GivesTheSameBitsAsTheCpu) {
  ORRERY_NEEDS_CUDA;
  Context device(on_cuda()), host({.threads = 1});
  for (const PixelFormat format : {PixelFormat::rgb, PixelFormat::nv12}) {
    Frames frames(format, 2, 15, 21);
    frames.images.resized_height = 8;
    frames.images.resized_width = 10;
    for (const PatchValues values : {PatchValues::bytes, PatchValues::normalized}) {
      EXPECT_TRUE(same_bits(rows_of(device, frames, 3, values), rows_of(host, frames, 3, values)));
    }
  }
}

TEST(PackedImage, FoldedWeightsTakeBytes) {
  const i64 outputs = 5, inputs = 3 * 4, plane = 4;
  const auto weight = random_values(outputs * inputs, 1), bias = random_values(outputs, 2);
  std::vector<float> folded(weight.size()), folded_bias(bias.size());
  fold_normalization(View<const float, 2>(weight.data(), {outputs, inputs}), view1(bias),
                     View<float, 2>(folded.data(), {outputs, inputs}), view1(folded_bias));
  const auto bytes = random_bytes(inputs, 3);
  for (i64 o = 0; o < outputs; ++o) {
    double expected = bias[static_cast<std::size_t>(o)];
    double result = folded_bias[static_cast<std::size_t>(o)];
    for (i64 i = 0; i < inputs; ++i) {
      const auto at = static_cast<std::size_t>(o * inputs + i);
      const double byte = bytes[static_cast<std::size_t>(i)];
      const i64 c = i / plane;
      expected +=
          static_cast<double>(weight[at]) *
          ((byte / 255 - static_cast<double>(kImageMean[c])) / static_cast<double>(kImageStd[c]));
      result += static_cast<double>(folded[at]) * byte;
    }
    // each of 12 weights of up to 3 / 0.22 and the bias is rounded once to 2^-24
    EXPECT_NEAR(result, expected, 12 * 14 * 0x1p-24 + 40 * 0x1p-24) << o;
  }
}

TEST(PackedImage, TakesViewsOfFrames) {
  Context ctx({.threads = 1});
  const auto bytes = random_bytes(2 * 4 * 6 * 3, 1);
  const View<const u8, 4> view(bytes.data(), {2, 4, 6, 3});
  std::vector<float> out(bytes.size());
  patch_rows_from_packed(ctx, packed_images(view), 1, PatchValues::bytes,
                         View<float, 3>(out.data(), {2, 24, 3}));
  EXPECT_EQ(out, converted<float>(bytes));
}

TEST(PackedImage, NamesWhatDoesNotFit) {
  Context ctx({.threads = 1});
  const Frames frames(PixelFormat::nv12, 1, 4, 6);
  std::vector<float> out(72);
  const View<float, 3> rows(out.data(), {1, 6, 12});
  const auto refuses = [&](const PackedImages& images, i64 patch) {
    EXPECT_THROW(patch_rows_from_packed(ctx, images, patch, PatchValues::bytes, rows), Error);
  };
  const PackedImages good = frames.on_host();
  patch_rows_from_packed(ctx, good, 2, PatchValues::bytes, rows);
  refuses(good, 0);
  refuses(good, 3);
  PackedImages bad = good;
  bad.pixels.pitch = 5;
  refuses(bad, 2);
  bad = good;
  bad.chroma.data = nullptr;
  refuses(bad, 2);
  bad = good;
  bad.chroma.pitch = 5;
  refuses(bad, 2);
  bad = good;
  bad.resized_height = 8;
  refuses(bad, 2);
  bad = good;
  bad.height = 0;
  refuses(bad, 2);
  std::vector<float> weight(8), bias(2);
  EXPECT_THROW(fold_normalization(View<const float, 2>(weight.data(), {2, 4}), view1(bias),
                                  View<float, 2>(weight.data(), {2, 4}), view1(bias)),
               Error);
}

}  // namespace
}  // namespace orrery
