#pragma once

#include <string>
#include <string_view>

namespace orrery {

// Characters as the text or a quoted attribute of HTML, SVG or XML: & < > " by their names, control
// characters, which XML forbids, as spaces.
std::string escaped(std::string_view characters);

}  // namespace orrery
