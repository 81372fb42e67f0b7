// Packed episodes that ranks of a recording hand to each other.
#include "data/recording_part.h"

#include <cstdlib>
#include <cstring>

#include "tests/fuzz/target.h"

namespace {

// small rows, so that a few kilobytes are an episode
const std::vector<orrery::Column> kColumns = {{"pixels", orrery::DType::uint8, {4, 4, 3}},
                                              {"action", orrery::DType::f32, {2}},
                                              {"reward", orrery::DType::f64, orrery::Shape({})}};
constexpr orrery::i64 kMaxRows = 64;

}  // namespace

// The first byte says how many episodes are expected; the part follows.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  return orrery::fuzz(data + 1, size - 1, [&](std::span<const std::byte> bytes) {
    const orrery::PartReader reader(bytes, "input", kColumns, data[0] % 8, kMaxRows);
    orrery::PlayedEpisode episode, again;
    for (orrery::i64 e = 0; e < reader.count(); ++e) {
      reader.unpack(e, episode);
      // what is accepted is packed and read as it was
      const std::string part =
          std::string(orrery::kPartMagic) + orrery::packed_episode(episode, kColumns);
      orrery::PartReader(std::as_bytes(std::span(part)), "packed", kColumns, 1, kMaxRows)
          .unpack(0, again);
      if (again.rows != episode.rows || again.values != episode.values) std::abort();
    }
  });
}
