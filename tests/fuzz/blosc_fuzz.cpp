// Blosc frames, decoded whole and in part. The first two bytes say how much the reader expects.
#include "io/blosc.h"

#include <vector>

#include "tests/fuzz/target.h"

namespace {

void read_frame(std::span<const std::byte> bytes) {
  if (bytes.size() < 2) return;
  const auto expected =
      static_cast<orrery::i64>(bytes[0]) * 256 + static_cast<orrery::i64>(bytes[1]);
  // a copy of its own: a read beyond the end is seen
  const std::vector<std::byte> copy(bytes.begin() + 2, bytes.end());
  const orrery::BloscFrame frame(copy, expected, "input: ");
  std::vector<std::byte> out(static_cast<std::size_t>(expected));
  try {
    frame.decode(out.data());
  } catch (const orrery::Error&) {
  }
  const orrery::i64 begin = expected / 3, count = expected / 2;
  std::vector<std::byte> part(static_cast<std::size_t>(count));
  frame.decode_range(begin, count, part.data());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return orrery::fuzz(data, size, read_frame);
}
