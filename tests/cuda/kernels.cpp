#include "tests/cuda/kernels.h"

#include <algorithm>
#include <cstring>
#include <sstream>

#include "base/error.h"
#include "base/text.h"

namespace orrery::kernels {

namespace {

// A container: its header (magic, version, size of the header, size of what follows), then one
// entry after the other. Of an entry's header we need:
constexpr u8 kMagic[] = {0x50, 0xED, 0x55, 0xBA};
constexpr std::size_t kKind = 0, kHeaderBytes = 4, kBytes = 8, kArchitecture = 28, kFlags = 40;
constexpr std::size_t kShortestEntry = 48;
constexpr u16 kPtx = 1, kMachineCode = 2;
constexpr u64 kOfOneArchitecture = 0x100000;  // the "a" of sm_90a

template <typename T>
T number_at(std::span<const u8> bytes, std::size_t at) {
  check(at <= bytes.size() && bytes.size() - at >= sizeof(T), "a container of CUDA code ends at ",
        bytes.size(), ", ", at + sizeof(T), " bytes were needed");
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

bool in_a_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

std::string without_comments(std::string_view source) {
  std::string code;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source.substr(i, 2) == "//") i = std::min(source.find('\n', i), source.size());
    if (source.substr(i, 2) == "/*") i = std::min(source.find("*/", i), source.size() - 2) + 1;
    if (i < source.size()) code.push_back(source[i]);
  }
  return code;
}

}  // namespace

std::set<std::string> targets_in(std::span<const u8> object) {
  std::set<std::string> targets;
  auto at = object.begin();
  while (true) {
    at = std::search(at, object.end(), std::begin(kMagic), std::end(kMagic));
    if (at == object.end()) return targets;
    const auto container = object.subspan(static_cast<std::size_t>(at - object.begin()));
    const std::size_t header = number_at<u16>(container, 6);
    const u64 size = number_at<u64>(container, 8);
    check(header <= container.size() && size <= container.size() - header,
          "a container of CUDA code has ", size, " bytes, the object only ", container.size());
    auto entries = container.subspan(header, static_cast<std::size_t>(size));
    while (entries.size() >= kShortestEntry) {
      const u16 kind = number_at<u16>(entries, kKind);
      const u64 bytes = number_at<u64>(entries, kBytes);
      const std::size_t entry_header = number_at<u32>(entries, kHeaderBytes);
      if (kind == kPtx || kind == kMachineCode) {
        const bool alone = (number_at<u64>(entries, kFlags) & kOfOneArchitecture) != 0;
        targets.insert(text(kind == kPtx ? "compute_" : "sm_",
                            number_at<u32>(entries, kArchitecture), alone ? "a" : ""));
      }
      check(entry_header >= kShortestEntry && entry_header <= entries.size() &&
                bytes <= entries.size() - entry_header,
            "an entry of CUDA code has ", bytes, " bytes, its container only ", entries.size());
      entries = entries.subspan(entry_header + static_cast<std::size_t>(bytes));
    }
    at += static_cast<std::ptrdiff_t>(header);
  }
}

std::set<std::string> kernels_in(std::string_view source) {
  const std::string code = without_comments(source);
  std::set<std::string> kernels;
  const std::string_view mark = "__global__";
  for (auto at = code.find(mark); at != std::string::npos; at = code.find(mark, at + 1)) {
    // words until the one before the parenthesis of the parameters; those of attributes are skipped
    std::string word;
    for (std::size_t i = at + mark.size(); i < code.size(); ++i) {
      if (in_a_name(code[i])) {
        if (!in_a_name(code[i - 1])) word.clear();
        word.push_back(code[i]);
      } else if (code[i] == '(') {
        if (word.rfind("__", 0) != 0) break;
        i = std::min(code.find(')', i), code.size());
      }
    }
    kernels.insert(word);
  }
  return kernels;
}

std::set<std::pair<std::string, std::string>> rows_of(std::string_view markdown) {
  std::set<std::pair<std::string, std::string>> rows;
  std::istringstream lines{std::string(markdown)};
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("| `", 0) != 0) continue;
    const auto file_end = line.find('`', 3);
    const auto kernel = line.find("| `", file_end);
    if (file_end == std::string::npos || kernel == std::string::npos) continue;
    const auto kernel_end = line.find('`', kernel + 3);
    if (kernel_end == std::string::npos) continue;
    rows.emplace(line.substr(3, file_end - 3), line.substr(kernel + 3, kernel_end - kernel - 3));
  }
  return rows;
}

}  // namespace orrery::kernels
