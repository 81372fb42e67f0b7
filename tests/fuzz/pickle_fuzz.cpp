// The pickle of a PyTorch checkpoint, without the checksum of a zip file before it.
#include "io/torch_file.h"

#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return orrery::fuzz(data, size, [](std::span<const std::byte> bytes) {
    // the storages of the seeds have 2 to 24 bytes: offer what a key asks for by its length
    const auto storage = [](const std::string& key) {
      return std::vector<std::byte>(key == "0" ? 24 : 8 * key.size());
    };
    orrery::tensors_from_pickle(bytes, storage, 1 << 20, "input");
  });
}
