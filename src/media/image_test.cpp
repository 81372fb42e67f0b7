#include "media/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <vector>

#include "base/atomic_file.h"
#include "tests/fuzz/damage.h"

namespace orrery {
namespace {

using ::testing::HasSubstr;

// pictures that Pillow wrote (tests/fuzz/make_corpus.py): 5 x 7, byte i is i
std::filesystem::path seed(const std::string& name) {
  return std::filesystem::path(ORRERY_SOURCE_DIR) / "tests" / "fuzz" / "corpus" / "image" / name;
}

Image ramp(i64 height, i64 width) {
  Image image;
  image.height = height;
  image.width = width;
  for (i64 i = 0; i < height * width * 3; ++i) image.rgb.push_back(static_cast<u8>(i));
  return image;
}

TEST(Png, ReadsEveryKindAsRgb) {
  const Image rgb = read_image(seed("rgb.png"));
  EXPECT_EQ(rgb.height, 5);
  EXPECT_EQ(rgb.width, 7);
  EXPECT_EQ(rgb.rgb, ramp(5, 7).rgb);
  EXPECT_EQ(read_image(seed("alpha.png")).rgb, rgb.rgb);

  // grey = the three are equal; L = (299 R + 587 G + 114 B) / 1000 of Pillow, here 1 at (0, 0)
  const Image grey = read_image(seed("grey.png"));
  ASSERT_EQ(grey.rgb.size(), rgb.rgb.size());
  EXPECT_EQ(grey.rgb[0], 1);
  for (std::size_t i = 0; i < grey.rgb.size(); ++i) EXPECT_EQ(grey.rgb[i], grey.rgb[i / 3 * 3]);
  // 16 bits: pixel i is 4000 i, its upper byte stays
  const Image deep = read_image(seed("grey16.png"));
  ASSERT_EQ(deep.width, 4);
  for (std::size_t i = 0; i < 16; ++i) EXPECT_EQ(deep.rgb[3 * i], 4000 * i / 256) << i;
  // black and white, and palettes whose colours are near the picture's
  for (const u8 byte : read_image(seed("bits.png")).rgb) EXPECT_TRUE(byte == 0 || byte == 255);
  EXPECT_EQ(read_image(seed("palette.png")).rgb, read_image(seed("transparent.png")).rgb);
}

TEST(Jpeg, ReadsColourGreyAndProgressive) {
  const Image rgb = read_image(seed("rgb.jpg"));
  EXPECT_EQ(rgb.height, 5);
  EXPECT_EQ(rgb.width, 7);
  EXPECT_EQ(read_image(seed("progressive.jpg")).width, 7);
  const Image grey = read_image(seed("grey.jpg"));
  for (std::size_t i = 0; i < grey.rgb.size(); ++i) EXPECT_EQ(grey.rgb[i], grey.rgb[i / 3 * 3]);
  EXPECT_THAT(error_of([] { read_image(seed("cmyk.jpg")); }), HasSubstr("unsupported JPEG"));
}

TEST(Png, RoundTrips) {
  const auto path = std::filesystem::path(::testing::TempDir()) / text(::getpid(), "-round.png");
  const Image image = ramp(31, 17);
  write_png(path, image);
  const Image again = read_image(path);
  EXPECT_EQ(again.height, 31);
  EXPECT_EQ(again.rgb, image.rgb);
  std::filesystem::remove(path);
}

TEST(Jpeg, RoundTripsNearly) {
  // a slope: 1 a pixel down, so that quantisation at quality 95 moves no value by more than 4
  Image image;
  image.height = 40;
  image.width = 24;
  for (i64 i = 0; i < 40 * 24; ++i) image.rgb.insert(image.rgb.end(), 3, static_cast<u8>(i / 24));
  const std::vector<u8> file = encode_jpeg(image.view(), 95);
  const Image again = parse_image(std::as_bytes(std::span<const u8>(file)), "f");
  ASSERT_EQ(again.rgb.size(), image.rgb.size());
  for (std::size_t i = 0; i < image.rgb.size(); ++i) {
    EXPECT_LE(std::abs(again.rgb[i] - image.rgb[i]), 4) << i;
  }
  EXPECT_THROW(encode_jpeg(image.view(), 0), Error);
}

TEST(Image, SaysWhatIsWrong) {
  EXPECT_EQ(error_of([] { parse_image({}, "f"); }), "f is neither a PNG nor a JPEG picture");
  Image image = ramp(4, 4);
  std::vector<u8> file = encode_png(image.view());
  // width 2^31 - 1 and 100 000 in the header: refused before memory is taken (its checksum is wrong
  // as well; either is said)
  for (const u8 byte : {0x7f, 0x00}) {
    file[16] = byte;
    file[17] = 0xff;
    EXPECT_THAT(error_of([&] { parse_image(std::as_bytes(std::span<const u8>(file)), "f"); }),
                HasSubstr("damaged PNG"));
  }
  // a JPEG header that claims 60 000 a side
  file = encode_jpeg(image.view());
  for (std::size_t i = 0; i + 9 < file.size(); ++i) {
    if (file[i] != 0xff || file[i + 1] != 0xc0) continue;
    file[i + 5] = file[i + 7] = 0xea;
  }
  EXPECT_THAT(error_of([&] { parse_image(std::as_bytes(std::span<const u8>(file)), "f"); }),
              HasSubstr("from 1 to 16384 a side"));
  // 16 384 a side fit the limit but not the file
  for (std::size_t i = 0; i + 9 < file.size(); ++i) {
    if (file[i] != 0xff || file[i + 1] != 0xc0) continue;
    file[i + 5] = file[i + 7] = 0x40;
    file[i + 6] = file[i + 8] = 0x00;
  }
  EXPECT_THAT(error_of([&] { parse_image(std::as_bytes(std::span<const u8>(file)), "f"); }),
              HasSubstr("too short for a picture of 16384 x 16384"));
}

TEST(Image, SurvivesDamage) {
  for (const char* name : {"rgb.png", "palette.png", "grey16.png", "rgb.jpg", "progressive.jpg"}) {
    const MappedFile file(seed(name));
    const auto read = [](std::span<const std::byte> bytes) { parse_image(bytes, "f"); };
    EXPECT_EQ(read_truncated(file.bytes(), read).read, 0) << name;
    EXPECT_GT(read_flipped(file.bytes(), read).refused, 100) << name;
  }
}

}  // namespace
}  // namespace orrery
