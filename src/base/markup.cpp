#include "base/markup.h"

namespace orrery {

std::string escaped(std::string_view characters) {
  std::string result;
  result.reserve(characters.size());
  for (const char c : characters) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += static_cast<unsigned char>(c) < 32 ? ' ' : c;
    }
  }
  return result;
}

}  // namespace orrery
