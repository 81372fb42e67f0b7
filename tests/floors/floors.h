#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::floors {

// A file of the repository: its path from the root, and its text.
struct Source {
  std::string path;
  std::string text;
};

// Folder of src/, "bench" or "apps", to its floor: 0 is the lowest.
using Table = std::map<std::string, int, std::less<>>;

// The table of docs/architecture.md, its lines `| 3 | io, media, env | ... |`. Error when a folder
// stands in two of them.
Table table_from_markdown(std::string_view text);

// One sentence for every rule that is broken, with path and line:
//
//   src/X, bench     includes X and strictly lower floors, by path from src/; X is in the table
//   src/models/A     includes no other family
//   include/orrery   includes include/orrery and the standard library, nothing else
//   third parties    only in the folder that wraps them: Highway in ops, HDF5 in io, ...
//   CUDA's headers   only in device, in *.cu and in headers of device code (*_device.h)
//   CMakeLists.txt   orrery_folder(X USES ...) links strictly lower floors
//
// Beside these, *_test.cpp and *_test.cu may include tests/. Other paths are not looked at.
std::vector<std::string> violations(const Table& table, const std::vector<Source>& sources);

}  // namespace orrery::floors
