#include "media/resize.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"

namespace orrery {
namespace {

// a picture that needs no file: byte i is (7 i^2 + 13 i) mod 251
std::vector<u8> picture(i64 height, i64 width) {
  std::vector<u8> rgb(static_cast<std::size_t>(height * width * 3));
  for (u64 i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<u8>((i * i * 7 + i * 13) % 251);
  return rgb;
}

std::vector<u8> resized(const std::vector<u8>& rgb, i64 in_height, i64 in_width, i64 out_height,
                        i64 out_width, bool wide) {
  ResizePlan plan = make_resize_plan(in_height, in_width, out_height, out_width);
  plan.wide = plan.wide && wide;
  // exactly what is asked for, so that a sanitizer sees one byte more
  std::vector<std::byte> scratch(plan.scratch_bytes());
  std::vector<u8> out(static_cast<std::size_t>(out_height * out_width * 3));
  resize_bilinear_u8(plan, View<const u8, 3>(rgb.data(), {in_height, in_width, 3}),
                     View<u8, 3>(out.data(), {out_height, out_width, 3}), scratch);
  return out;
}

// FNV-1a 64
u64 hash_of(const std::vector<u8>& bytes) {
  u64 hash = 0xCBF29CE484222325ull;
  for (const u8 byte : bytes) hash = (hash ^ byte) * 0x100000001B3ull;
  return hash;
}

TEST(Resize, EqualsPillow) {
  // Image.fromarray(picture(9, 7)).resize((3, 4), BILINEAR) of Pillow 11.3
  const std::vector<u8> small = {101, 137, 126, 121, 91,  127, 88,  116, 96,  162, 148, 97,
                                 110, 81,  112, 123, 103, 106, 156, 155, 139, 122, 132, 133,
                                 152, 103, 102, 118, 122, 141, 152, 115, 125, 134, 118, 94};
  EXPECT_EQ(resized(picture(9, 7), 9, 7, 4, 3, true), small);
  EXPECT_EQ(resized(picture(9, 7), 9, 7, 4, 3, false), small);

  struct Case {
    i64 in_height, in_width, out_height, out_width;
    u64 hash;  // of Pillow's bytes
  };
  const std::vector<Case> cases = {
      {224, 224, 64, 64, 0x5d176cff0f7da260ull}, {512, 512, 224, 224, 0x67a924243624a9ebull},
      {64, 64, 224, 224, 0xcbe1d62b36f153efull}, {96, 96, 224, 224, 0xfa7f80cfbb185eadull},
      {37, 53, 53, 37, 0xbcb12a54f4a6e75dull},   {224, 224, 63, 65, 0x6c1a1e8b380c7b4cull},
      {1, 1, 5, 4, 0xba34aa00b9a93325ull},       {300, 2, 1, 1, 0xb52e871979735a74ull},
  };
  for (const Case& c : cases) {
    const auto rgb = picture(c.in_height, c.in_width);
    for (const bool wide : {true, false}) {
      const auto out = resized(rgb, c.in_height, c.in_width, c.out_height, c.out_width, wide);
      EXPECT_EQ(hash_of(out), c.hash) << c.in_height << " x " << c.in_width << " to "
                                      << c.out_height << " x " << c.out_width << " wide " << wide;
    }
  }
}

TEST(Resize, EveryPathGivesTheSameBytes) {
  // around the width of a register: 16 bytes of a row, 2 taps
  for (const i64 side : {1, 2, 3, 5, 6, 11, 16, 17, 31}) {
    const auto rgb = picture(23, 19);
    EXPECT_EQ(resized(rgb, 23, 19, side, side + 1, true),
              resized(rgb, 23, 19, side, side + 1, false))
        << side;
  }
}

TEST(Resize, KeepsOneColourAndEqualSizes) {
  const std::vector<u8> white(13 * 17 * 3, 255);
  EXPECT_EQ(resized(white, 13, 17, 40, 3, true), std::vector<u8>(40 * 3 * 3, 255));
  EXPECT_EQ(resized(picture(13, 17), 13, 17, 13, 17, true), picture(13, 17));
}

TEST(Resize, WritesIntoPartOfAnImage) {
  // rows of out lie 20 bytes apart: what is between them stays
  const auto rgb = picture(8, 8);
  const ResizePlan plan = make_resize_plan(8, 8, 3, 4);
  std::vector<std::byte> scratch(plan.scratch_bytes());
  std::vector<u8> out(3 * 20, 77);
  const View<u8, 3> view(out.data(), {3, 4, 3}, {20, 3, 1});
  resize_bilinear_u8(plan, View<const u8, 3>(rgb.data(), {8, 8, 3}), view, scratch);
  const auto expected = resized(rgb, 8, 8, 3, 4, false);
  for (std::size_t y = 0; y < 3; ++y) {
    for (std::size_t x = 0; x < 20; ++x) {
      EXPECT_EQ(out[y * 20 + x], x < 12 ? expected[y * 12 + x] : 77);
    }
  }
}

TEST(Resize, RefusesWhatDoesNotFit) {
  EXPECT_THROW(make_resize_plan(0, 4, 4, 4), Error);
  EXPECT_THROW(make_resize_plan(4, 4, 4, 20000), Error);
  const ResizePlan plan = make_resize_plan(8, 8, 4, 4);
  std::vector<u8> in(8 * 8 * 3), out(4 * 4 * 3);
  std::vector<std::byte> scratch(plan.scratch_bytes());
  const View<const u8, 3> from(in.data(), {8, 8, 3});
  const View<u8, 3> to(out.data(), {4, 4, 3});
  EXPECT_THROW(resize_bilinear_u8(plan, to, to, scratch), Error);
  EXPECT_THROW(resize_bilinear_u8(plan, from, to, std::span(scratch).first(10)), Error);
}

}  // namespace
}  // namespace orrery
