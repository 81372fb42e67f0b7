// NumPy arrays, without the checksum of a zip file before them.
#include "io/npz.h"

#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return orrery::fuzz(data, size,
                      [](std::span<const std::byte> bytes) { orrery::parse_npy(bytes, "input"); });
}
