#include "tests/floors/floors.h"

#include <algorithm>
#include <optional>
#include <sstream>

#include "base/error.h"

namespace orrery::floors {

namespace {

// third-party headers by their beginning, and the folders that may know them
struct Fence {
  std::string_view header;
  std::string_view folder;
};
constexpr Fence kFences[] = {
    {"hwy/", "ops"},     {"hwy/", "bench"},  {"hdf5", "io"},         {"blosc.h", "io"},
    {"zip.h", "io"},     {"png.h", "media"}, {"jpeglib.h", "media"}, {"CLI/", "apps"},
    {"cublas", "bench"}, {"mpi.h", "dist"},  {"nccl.h", "dist"},
};

// The toolkit's headers are for kernels and for what kernels include: *.cu and headers of device
// code, wherever they stand, and the folder that wraps the toolkit.
constexpr std::string_view kToolkit[] = {"cuda_", "cuda.h", "cooperative_groups", "cuda/"};
constexpr std::string_view kDeviceCode[] = {".cu",     ".cuh",   "_device.h",
                                            "/cuda.h", "/ptx.h", "/wgmma.h"};

bool starts_with(std::string_view text, std::string_view beginning) {
  return text.substr(0, beginning.size()) == beginning;
}
bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

// component `index` of a path, empty when there are fewer
std::string component(std::string_view path, int index) {
  for (; index > 0; --index) {
    const auto slash = path.find('/');
    if (slash == std::string_view::npos) return {};
    path.remove_prefix(slash + 1);
  }
  return std::string(path.substr(0, path.find('/')));
}

// families stand beside each other on one floor: models/lewm is the family lewm, models/x.h is none
std::string family_of(std::string_view path_in_src) {
  if (component(path_in_src, 0) != "models" || component(path_in_src, 2).empty()) return {};
  return component(path_in_src, 1);
}

bool in_a_name(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; }

// <cstdint>, <vector>: the standard library has no dots and no slashes; and C's headers that C++
// takes over
bool is_standard(const std::string& header) {
  return std::all_of(header.begin(), header.end(), in_a_name) || header == "stdint.h" ||
         header == "stddef.h" || header == "stdbool.h";
}

// the names in a text, whatever stands between them
std::vector<std::string> names_in(std::string_view text) {
  std::vector<std::string> names;
  bool inside = false;
  for (const char c : text) {
    if (in_a_name(c)) {
      if (!inside) names.emplace_back();
      names.back().push_back(c);
    }
    inside = in_a_name(c);
  }
  return names;
}

std::string_view without_spaces_before(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(" \t"), text.size()));
}

// What a line includes, if it does, with its quote or angle in front.
std::optional<std::string> included_by(std::string_view line) {
  line = without_spaces_before(line);
  if (!starts_with(line, "#")) return std::nullopt;
  line = without_spaces_before(line.substr(1));
  if (!starts_with(line, "include")) return std::nullopt;
  line = without_spaces_before(line.substr(7));
  if (!starts_with(line, "\"") && !starts_with(line, "<")) return std::nullopt;
  const auto end = line.find(line[0] == '<' ? '>' : '"', 1);
  if (end == std::string_view::npos) return std::nullopt;
  return std::string(line.substr(0, end));
}

class Checker {
 public:
  Checker(const Table& table, const Source& source, std::vector<std::string>& broken)
      : table_(table), source_(source), broken_(broken) {}

  void check_includes() {
    std::istringstream lines(source_.text);
    for (std::string line; std::getline(lines, line);) {
      ++line_;
      if (const auto header = included_by(line)) {
        check_include(header->substr(1), header->front() == '"');
      }
    }
  }

  // orrery_folder(name USES a b ... [LIBRARIES ...]), on one line or several
  void check_links() {
    constexpr std::string_view call = "orrery_folder(";
    const std::string_view file = source_.text;
    const auto begin = file.find(call);
    if (begin == std::string_view::npos) return;
    line_ = 1;
    const auto words = file.substr(begin + call.size());
    const std::string folder = component(source_.path.substr(4), 0);
    // libraries are no folders
    const auto uses = words.substr(0, std::min(words.find("LIBRARIES"), words.find(')')));
    for (const std::string& used :
         names_in(uses.substr(std::min(uses.find("USES"), uses.size())))) {
      // a family's target bears the name of the family
      const bool family = table_.find(used) == table_.end();
      must_be_lower(folder, family ? "models" : used, "links " + used);
    }
  }

 private:
  template <typename... Parts>
  void report(const Parts&... parts) {
    broken_.push_back(text(source_.path, ":", line_, ": ", parts...));
  }

  std::optional<int> floor_of(const std::string& folder) {
    const auto found = table_.find(folder);
    if (found != table_.end()) return found->second;
    report(folder, " is not in the table of floors of docs/architecture.md");
    return std::nullopt;
  }

  void must_be_lower(const std::string& folder, const std::string& used, const std::string& what) {
    const auto own = floor_of(folder), other = floor_of(used);
    if (own && other && *other >= *own) {
      report(what, ", but ", folder, " stands on floor ", *own, " and ", used, " on floor ",
             *other);
    }
  }

  void check_include(const std::string& header, bool quoted) {
    if (starts_with(source_.path, "include/")) {
      const bool own = starts_with(header, "orrery/");
      if (!own && (quoted || !is_standard(header))) {
        report("includes ", header,
               "; what is promised to others includes only itself and the "
               "standard library");
      }
      return;
    }
    const bool in_src = starts_with(source_.path, "src/");
    const std::string inside = source_.path.substr(in_src ? 4 : 0);
    const std::string folder = component(inside, 0);
    if (!quoted) return check_fence(header, folder);
    const bool test = ends_with(inside, "_test.cpp") || ends_with(inside, "_test.cu");
    if (test && starts_with(header, "tests/")) return;
    if (header.find("..") != std::string::npos) {
      return report("includes ", header, "; paths begin at src/");
    }

    const std::string used = component(header, 0);
    const bool bare = header.find('/') == std::string::npos;
    if (!in_src && bare) return;  // its own files, and what configuring made
    if (bare) return report("includes ", header, "; paths begin at src/");
    if (used == "orrery") {  // the public headers are on the floor of api
      if (folder != "api") must_be_lower(folder, "api", "includes " + header);
      return;
    }
    if (used == folder) {
      const std::string own = family_of(inside), other = family_of(header);
      if (!own.empty() && !other.empty() && own != other) {
        report("includes ", header, "; one family does not know another");
      }
      return;
    }
    must_be_lower(folder, used, "includes " + header);
  }

  void check_fence(const std::string& header, const std::string& folder) {
    const auto begins_header = [&](std::string_view start) { return starts_with(header, start); };
    const auto ends_path = [&](std::string_view end) { return ends_with(source_.path, end); };
    if (std::any_of(std::begin(kToolkit), std::end(kToolkit), begins_header)) {
      if (folder != "device" &&
          !std::any_of(std::begin(kDeviceCode), std::end(kDeviceCode), ends_path)) {
        report("includes <", header, ">, which is for *.cu and headers of device code");
      }
      return;
    }
    bool fenced = false, allowed = false;
    for (const Fence& fence : kFences) {
      if (!starts_with(header, fence.header)) continue;
      fenced = true;
      allowed = allowed || folder == fence.folder;
    }
    if (fenced && !allowed) {
      report("includes <", header, ">, which ", folder, " leaves to the folder that wraps it");
    }
  }

  const Table& table_;
  const Source& source_;
  std::vector<std::string>& broken_;
  int line_ = 0;
};

}  // namespace

Table table_from_markdown(std::string_view text) {
  Table table;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    // | 3 | `io`, `env` | ... |
    std::istringstream cells(line);
    std::string before, number, folders;
    std::getline(cells, before, '|');
    std::getline(cells, number, '|');
    std::getline(cells, folders, '|');
    const auto floor = names_in(number);
    const bool is_row = before.empty() && floor.size() == 1 && floor[0].size() <= 2 &&
                        floor[0].find_first_not_of("0123456789") == std::string::npos;
    if (!is_row) continue;
    for (const std::string& name : names_in(folders)) {
      const bool added = table.emplace(name, std::stoi(floor[0])).second;
      check(added, "the table of floors names ", name, " twice");
    }
  }
  return table;
}

std::vector<std::string> violations(const Table& table, const std::vector<Source>& sources) {
  std::vector<std::string> broken;
  for (const Source& source : sources) {
    const bool in_src = starts_with(source.path, "src/");
    const bool code = ends_with(source.path, ".h") || ends_with(source.path, ".cpp") ||
                      ends_with(source.path, ".cu") || ends_with(source.path, ".cuh");
    Checker checker(table, source, broken);
    if (code && (in_src || starts_with(source.path, "apps/") ||
                 starts_with(source.path, "bench/") || starts_with(source.path, "include/"))) {
      checker.check_includes();
    } else if (in_src && ends_with(source.path, "/CMakeLists.txt")) {
      checker.check_links();
    }
  }
  return broken;
}

}  // namespace orrery::floors
