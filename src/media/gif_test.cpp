#include "media/gif.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/atomic_file.h"
#include "base/error.h"
#include "media/image.h"
#include "media/video.h"

namespace orrery {
namespace {

Image painted(i64 height, i64 width, const std::function<Palette::Colour(i64 y, i64 x)>& colour) {
  Image image = {.height = height, .width = width, .rgb = {}};
  for (i64 y = 0; y < height; ++y) {
    for (i64 x = 0; x < width; ++x) {
      for (const u8 channel : colour(y, x)) image.rgb.push_back(channel);
    }
  }
  return image;
}

// every colour of a grid once: more than 256 of them
Image many(int step) {
  return painted(64, 64, [&](i64 y, i64 x) {
    return Palette::Colour{static_cast<u8>(4 * y), static_cast<u8>(4 * x),
                           static_cast<u8>((y + x + step) % 256)};
  });
}

TEST(Palette, FewColoursAreThemselves) {
  Palette palette;
  const Image image = painted(8, 32, [](i64 y, i64 x) {
    return Palette::Colour{static_cast<u8>(x), static_cast<u8>(y), 255};
  });
  palette.count(image.view());
  palette.choose();
  ASSERT_EQ(palette.colours().size(), 256u);
  for (int x = 0; x < 32; ++x) {
    for (int y = 0; y < 8; ++y) {
      const Palette::Colour colour = {static_cast<u8>(x), static_cast<u8>(y), 255};
      EXPECT_EQ(palette.colours()[palette.index_of(colour)], colour);
    }
  }
}

// 4096 colours over a plane in the cube: 256 boxes of 16 colours each, 16 levels long, would be at
// most 8 off in each channel; boxes that are not cubes are longer
TEST(Palette, ManyColoursAreNearTheirBoxes) {
  Palette palette;
  const Image image = many(0);
  palette.count(image.view());
  palette.choose();
  EXPECT_EQ(palette.colours().size(), 256u);
  double off = 0;
  for (std::size_t i = 0; i < image.rgb.size(); i += 3) {
    const Palette::Colour colour = {image.rgb[i], image.rgb[i + 1], image.rgb[i + 2]};
    const Palette::Colour shown = palette.colours()[palette.index_of(colour)];
    for (std::size_t c = 0; c < 3; ++c) {
      const int error = std::abs(int{colour[c]} - int{shown[c]});
      off += error;
      EXPECT_LE(error, 32);
    }
  }
  EXPECT_LT(off / static_cast<double>(image.rgb.size()), 8);
}

// one colour that fills the picture is kept whatever else occurs
TEST(Palette, PaperStaysWhite) {
  Palette palette;
  const Image white = painted(256, 256, [](i64, i64) { return Palette::Colour{255, 255, 255}; });
  for (int i = 0; i < 4; ++i) palette.count(white.view());
  palette.count(many(0).view());
  palette.choose();
  EXPECT_EQ(palette.colours()[palette.index_of({255, 255, 255})], (Palette::Colour{255, 255, 255}));
}

class Gif : public testing::Test {
 protected:
  Gif() : path_(std::filesystem::temp_directory_path() / text("orrery-", ::getpid(), ".gif")) {}
  ~Gif() override {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  void SetUp() override {
    if (!has_video()) GTEST_SKIP() << "needs a build with FFmpeg";
  }

  std::filesystem::path path_;
};

TEST_F(Gif, FramesComeBack) {
  // a small square that moves over stripes
  const auto frame = [](i64 t) {
    return painted(30, 41, [t](i64 y, i64 x) {
      const bool inside = y >= t && y < t + 5 && x >= 2 * t && x < 2 * t + 5;
      return inside ? Palette::Colour{200, 10, 30}
                    : Palette::Colour{255, 255, static_cast<u8>(x % 3 * 100)};
    });
  };
  Palette palette;
  for (i64 t = 0; t < 12; ++t) palette.count(frame(t).view());
  palette.choose();
  GifWriter writer(path_, 30, 41, palette, 10);
  for (i64 t = 0; t < 12; ++t) writer.add(frame(t).view());
  writer.finish();

  VideoReader reader(path_);
  ASSERT_EQ(reader.frames(), 12);
  ASSERT_EQ(reader.height(), 30);
  ASSERT_EQ(reader.width(), 41);
  reader.read(0, 12, [&](i64 t, View<const u8, 3> rgb) {
    const Image expected = frame(t);
    EXPECT_TRUE(std::equal(expected.rgb.begin(), expected.rgb.end(), rgb.data())) << t;
  });
  // it repeats: the extension that browsers look for
  const std::string file = read_file(path_, 1 << 20);
  EXPECT_NE(file.find("NETSCAPE2.0"), std::string::npos);
}

TEST_F(Gif, OtherShapesAndSpeedsAreRefused) {
  Palette palette;
  palette.count(many(0).view());
  palette.choose();
  EXPECT_THROW(GifWriter(path_, 64, 64, palette, 51), Error);
  GifWriter writer(path_, 32, 64, palette, 10);
  EXPECT_THROW(writer.add(many(0).view()), Error);
  EXPECT_THROW(writer.finish(), Error);
}

}  // namespace
}  // namespace orrery
