// Records of finished episodes, which travel as JSON.
#include "eval/records.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return orrery::fuzz(data, size, [](std::span<const std::byte> bytes) {
    const auto value =
        orrery::parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "input");
    const auto record = orrery::record_from_json(value, "input");
    // what is accepted is written as it was read
    const auto written = orrery::json_from_record(record);
    const auto again = orrery::record_from_json(written, "written");
    if (orrery::json_from_record(again) != written) std::abort();
  });
}
