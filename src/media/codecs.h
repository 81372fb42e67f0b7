#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "media/image.h"

namespace orrery {

// The decoders behind parse_image(); each is given a file that begins as its format does.
Image parse_png(std::span<const std::byte> file, const std::string& name);
Image parse_jpeg(std::span<const std::byte> file, const std::string& name);

// A picture of the size that a file announces, refused when the file cannot hold so many pixels.
Image image_of_size(u64 width, u64 height, u64 max_pixels, const std::string& name);

}  // namespace orrery
