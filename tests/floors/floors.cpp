#include "tests/floors/floors.h"

#include <optional>
#include <regex>
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
    {"hwy/", "ops"}, {"hwy/", "bench"},      {"hdf5", "io"},     {"blosc.h", "io"},
    {"zip.h", "io"}, {"jpeglib.h", "media"}, {"png.h", "media"}, {"CLI/", "apps"},
};

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

// <cstdint>, <vector>: the standard library has no dots and no slashes; and C's headers that C++
// takes over
bool is_standard(const std::string& header) {
  static const std::regex names("[a-z_0-9]+|std(int|def|bool)\\.h");
  return std::regex_match(header, names);
}

class Checker {
 public:
  Checker(const Table& table, const Source& source, std::vector<std::string>& broken)
      : table_(table), source_(source), broken_(broken) {}

  void check_includes() {
    static const std::regex include(R"(^\s*#\s*include\s*(["<])([^">]+)[">].*)");
    std::istringstream lines(source_.text);
    for (std::string line; std::getline(lines, line);) {
      ++line_;
      std::smatch found;
      if (std::regex_match(line, found, include)) check_include(found[2], found[1] == "\"");
    }
  }

  // orrery_folder(name USES a b ... [LIBRARIES ...]), on one line or several
  void check_links() {
    static const std::regex call(R"(orrery_folder\(\s*(\w+)\s+USES\s+([^)]*)\))");
    std::smatch found;
    if (!std::regex_search(source_.text, found, call)) return;
    line_ = 1;
    const std::string folder = component(source_.path.substr(4), 0);
    std::istringstream words(found[2]);
    for (std::string used; words >> used && used != "LIBRARIES";) {
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
    if (starts_with(header, "tests/") && ends_with(inside, "_test.cpp")) return;
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
  static const std::regex row(R"(^\|\s*(\d+)\s*\|([^|]*)\|.*)");
  static const std::regex folder(R"([a-z_0-9]+)");
  Table table;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::smatch found;
    if (!std::regex_match(line, found, row)) continue;
    const int floor = std::stoi(found[1]);
    const std::string names = found[2];
    for (std::sregex_iterator at(names.begin(), names.end(), folder), end; at != end; ++at) {
      const bool added = table.emplace(at->str(), floor).second;
      check(added, "the table of floors names ", at->str(), " twice");
    }
  }
  return table;
}

std::vector<std::string> violations(const Table& table, const std::vector<Source>& sources) {
  std::vector<std::string> broken;
  for (const Source& source : sources) {
    const bool in_src = starts_with(source.path, "src/");
    const bool code = ends_with(source.path, ".h") || ends_with(source.path, ".cpp");
    Checker checker(table, source, broken);
    if (code &&
        (in_src || starts_with(source.path, "apps/") || starts_with(source.path, "include/"))) {
      checker.check_includes();
    } else if (in_src && ends_with(source.path, "/CMakeLists.txt")) {
      checker.check_links();
    }
  }
  return broken;
}

}  // namespace orrery::floors
