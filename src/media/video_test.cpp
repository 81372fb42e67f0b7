#include "media/video.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "base/atomic_file.h"
#include "base/error.h"
#include "media/image.h"

namespace orrery {
namespace {

constexpr i64 kFrames = 50;

// a bright bar that moves to the right, a column a frame
Image frame(i64 t) {
  Image image = {.height = 32, .width = 64, .rgb = std::vector<u8>(32 * 64 * 3, 30)};
  for (i64 y = 0; y < 32; ++y) {
    for (i64 x = t; x < t + 8; ++x) {
      for (i64 c = 0; c < 3; ++c) image.rgb[static_cast<std::size_t>((y * 64 + x) * 3 + c)] = 220;
    }
  }
  return image;
}

class Video : public testing::Test {
 protected:
  Video() : path_(std::filesystem::temp_directory_path() / text("orrery-", ::getpid(), ".mp4")) {}
  ~Video() override {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  void SetUp() override {
    if (!has_video()) GTEST_SKIP() << "needs a build with FFmpeg";
    VideoWriter writer(path_, 32, 64, {});
    for (i64 t = 0; t < kFrames; ++t) writer.add(frame(t).view());
    writer.finish();
  }

  std::filesystem::path path_;
};

// where the bar begins in a decoded frame
i64 bar(View<const u8, 3> rgb) {
  for (i64 x = 0; x < rgb.size(1); ++x) {
    if (rgb.data()[(16 * rgb.size(1) + x) * 3 + 1] > 125) return x;
  }
  return -1;
}

TEST_F(Video, FramesComeBackFromAnywhere) {
  VideoReader reader(path_);
  ASSERT_EQ(reader.frames(), kFrames);
  EXPECT_EQ(reader.height(), 32);
  EXPECT_EQ(reader.width(), 64);
  for (const auto& [begin, end] :
       {std::pair<i64, i64>{0, kFrames}, {49, 50}, {0, 1}, {13, 30}, {30, 31}, {5, 5}}) {
    i64 expected = begin;
    reader.read(begin, end, [&](i64 t, View<const u8, 3> rgb) {
      EXPECT_EQ(t, expected++);
      EXPECT_EQ(bar(rgb), t);
      // 4:2:0 and compression blur the edges only
      double sum = 0;
      const Image image = frame(t);
      for (std::size_t i = 0; i < image.rgb.size(); ++i) {
        sum += std::abs(static_cast<int>(image.rgb[i]) - static_cast<int>(rgb.data()[i]));
      }
      EXPECT_LT(sum / static_cast<double>(image.rgb.size()), 6);
    });
    EXPECT_EQ(expected, end);
  }
  EXPECT_THROW(reader.read(0, kFrames + 1, [](i64, View<const u8, 3>) {}), Error);
}

TEST_F(Video, TheSameFramesGiveTheSameBytes) {
  const std::string first = read_file(path_, 1 << 24);
  SetUp();
  EXPECT_EQ(first, read_file(path_, 1 << 24));
}

TEST_F(Video, DamagedFilmsAreErrors) {
  const std::string whole = read_file(path_, 1 << 24);
  for (const std::size_t length : {std::size_t{0}, std::size_t{20}, whole.size() / 2}) {
    write_file(path_, whole.substr(0, length));
    EXPECT_THROW(VideoReader{path_}, Error) << length;
  }
  EXPECT_THROW(VideoReader{"/nowhere/film.mp4"}, Error);
  EXPECT_THROW(VideoWriter(path_, 31, 64, {}), Error);
}

}  // namespace
}  // namespace orrery
