#pragma once

#include <span>
#include <string>

namespace orrery {

// The name that takes the fewest letters added, removed or replaced to become `word`, for messages
// about a word that is unknown; the first of equals, empty when there are no names.
std::string nearest_name(const std::string& word, std::span<const std::string> names);

}  // namespace orrery
