#include "media/image.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/atomic_file.h"
#include "base/error.h"
#include "media/codecs.h"

namespace orrery {
namespace {

bool begins_with(std::span<const std::byte> file, std::string_view magic) {
  return file.size() >= magic.size() &&
         std::equal(magic.begin(), magic.end(), file.begin(),
                    [](char a, std::byte b) { return static_cast<std::byte>(a) == b; });
}

}  // namespace

Image image_of_size(u64 width, u64 height, u64 max_pixels, const std::string& name) {
  constexpr u64 kMost = kMaxImageSide;
  check(width >= 1 && height >= 1 && width <= kMost && height <= kMost, name, " is a picture of ",
        width, " x ", height, ", from 1 to ", kMost, " a side are read");
  check(width * height <= max_pixels, name, " is too short for a picture of ", width, " x ",
        height);
  Image image;
  image.width = static_cast<i64>(width);
  image.height = static_cast<i64>(height);
  image.rgb.resize(static_cast<std::size_t>(width * height * 3));
  return image;
}

Image parse_image(std::span<const std::byte> file, const std::string& name) {
  if (begins_with(file, "\x89PNG\r\n\x1a\n")) return parse_png(file, name);
  if (begins_with(file, "\xff\xd8\xff")) return parse_jpeg(file, name);
  fail(name, " is neither a PNG nor a JPEG picture");
}

Image read_image(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_image(file.bytes(), path.string());
}

void write_png(const std::filesystem::path& path, const Image& image) {
  const std::vector<u8> file = encode_png(image.view());
  AtomicFile out(path);
  out.write(std::as_bytes(std::span<const u8>(file)));
  out.commit();
}

}  // namespace orrery
