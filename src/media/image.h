#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/types.h"
#include "tensor/view.h"

namespace orrery {

// A picture: rows from the top, each pixel red, green, blue.
struct Image {
  i64 height = 0;
  i64 width = 0;
  std::vector<u8> rgb;  // [height, width, 3]

  View<const u8, 3> view() const { return {rgb.data(), {height, width, 3}}; }
  View<u8, 3> view() { return {rgb.data(), {height, width, 3}}; }
};

// larger pictures are refused before anything is allocated for them
inline constexpr i64 kMaxImageSide = 16384;

// PNG and JPEG, told apart by their contents, as RGB of 8 bits: palettes are looked up, grey is
// repeated, 16 bits become their upper 8, and alpha is dropped, not blended. PNG is exact; JPEG as
// libjpeg decodes it.
//
// Errors, one sentence: another type of file, damaged or cut short, larger than kMaxImageSide or
// than its bytes can hold.
Image read_image(const std::filesystem::path& path);
Image parse_image(std::span<const std::byte> file, const std::string& name);

std::vector<u8> encode_png(View<const u8, 3> rgb);
// quality from 1 to 100, the scale of libjpeg
std::vector<u8> encode_jpeg(View<const u8, 3> rgb, int quality = 90);

// The file is there whole or not at all.
void write_png(const std::filesystem::path& path, const Image& image);

}  // namespace orrery
