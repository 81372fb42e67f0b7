// The description of a zarr array.
#include "io/zarr.h"

#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return orrery::fuzz(data, size, [](std::span<const std::byte> bytes) {
    orrery::parse_zarray({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "array",
                         "input");
  });
}
