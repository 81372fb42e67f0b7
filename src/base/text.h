#pragma once

#include <sstream>
#include <string>

namespace orrery {

// Everything given, printed one after the other: text("rows ", 3) == "rows 3".
template <typename... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace orrery
