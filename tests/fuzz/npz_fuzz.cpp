// Zip files of NumPy arrays.
#include "io/npz.h"

#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return orrery::fuzz(data, size,
                      [](std::span<const std::byte> bytes) { orrery::parse_npz(bytes, "input"); });
}
