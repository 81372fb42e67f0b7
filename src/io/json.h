#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace orrery {

// deeper nesting is refused: our own files need less than 16 levels
inline constexpr int kMaxJsonDepth = 64;

// JSON text as a value. `name` says in errors where the text came from.
//
// Errors, one sentence with name and byte position: not JSON, nested deeper than kMaxJsonDepth, a
// key that appears twice in an object.
nlohmann::json parse_json(std::string_view characters, const std::string& name);

// The same for a file of at most 256 MiB.
nlohmann::json read_json(const std::filesystem::path& path);

// Writes the value indented by two spaces with a final line feed, atomically.
void write_json(const std::filesystem::path& path, const nlohmann::json& value);

}  // namespace orrery
