// PNG and JPEG pictures.
#include "media/image.h"

#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return orrery::fuzz(
      data, size, [](std::span<const std::byte> bytes) { orrery::parse_image(bytes, "input"); });
}
