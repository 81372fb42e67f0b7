// Safetensors files.
#include "io/safetensors.h"

#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return orrery::fuzz(data, size, [](std::span<const std::byte> bytes) {
    orrery::parse_safetensors(bytes, "input");
  });
}
