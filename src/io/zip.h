#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/types.h"

struct zip;

namespace orrery {

// A zip archive in memory. Sizes and positions come from its central directory (local headers may
// be empty); members are stored or deflated, and their CRC is checked when they are read.
//
// Nothing is inflated beyond what the directory announces, and the directory may not announce more
// than deflate can reach from the bytes that are there: a small file cannot ask for much memory.
class ZipReader {
 public:
  struct Member {
    std::string name;
    u64 bytes = 0;  // inflated
  };

  // `file` must outlive the reader; `name` is for errors
  ZipReader(std::span<const std::byte> file, std::string name);
  ~ZipReader();

  const std::vector<Member>& members() const { return members_; }
  // position among members(), or -1
  i64 find(const std::string& member) const;
  std::vector<std::byte> read(std::size_t member) const;

 private:
  struct Close {
    void operator()(zip* archive) const;
  };
  std::unique_ptr<zip, Close> archive_;
  std::string name_;
  std::vector<Member> members_;
  std::map<std::string, std::size_t> places_;
};

// A member to write: its bytes are the parts one after the other, which must live until then.
struct ZipParts {
  std::string name;
  std::vector<std::span<const std::byte>> parts;
};

// Writes an archive atomically: members in the order given, stored, or deflated when asked for,
// with a fixed date, so that the same members give the same bytes.
void write_zip(const std::filesystem::path& path, std::span<const ZipParts> members,
               bool deflate = false);

// the first bytes of every zip file with at least one member
bool looks_like_zip(std::span<const std::byte> file);

}  // namespace orrery
