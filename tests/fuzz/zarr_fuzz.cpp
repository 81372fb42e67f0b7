// The description of a zarr array, of both formats; and a shard, by the rest of the input behind
// the description of its array and a zero.
#include "io/zarr.h"

#include <algorithm>

#include "tests/fuzz/target.h"

namespace {

void read_description(std::span<const std::byte> bytes) {
  const auto end = std::find(bytes.begin(), bytes.end(), std::byte{0});
  const std::string_view json(reinterpret_cast<const char*>(bytes.data()),
                              static_cast<std::size_t>(end - bytes.begin()));
  const auto array = orrery::parse_zarr_json(json, "array", "input");
  if (!array) return void(orrery::parse_zarray(json, "array", "input"));
  if (!array->refusal.empty() || array->shard.empty() || end == bytes.end()) return;
  orrery::i64 together = 1;
  for (const orrery::i64 count : array->shard) together *= count;
  const auto shard = bytes.subspan(json.size() + 1);
  for (orrery::i64 slot = 0; slot < std::min<orrery::i64>(together, 64); ++slot) {
    orrery::chunk_in_shard(*array, shard, slot, "input ");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return orrery::fuzz(data, size, read_description);
}
