// A model's config.json: read, laid out, written and read again.
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "models/lewm/weights.h"
#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return orrery::fuzz(data, size, [](std::span<const std::byte> bytes) {
    const auto json =
        orrery::parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "input");
    const auto config = orrery::lewm::config_from_json(json, "input");
    const auto layout = orrery::lewm::layout_of(config);
    // what was read must survive being written
    const auto again =
        orrery::lewm::config_from_json(orrery::lewm::json_from_config(config), "written");
    if (orrery::lewm::layout_of(again).parameters != layout.parameters) __builtin_trap();
  });
}
