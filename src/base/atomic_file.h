#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/types.h"

namespace orrery {

// A file that is there whole or not at all. Bytes go to `<path>.<process>-<number>.tmp` in the same
// folder; commit() flushes them to the disk and renames. Without commit() the temporary is removed
// and whatever was at `path` before stays.
//
// Errors: one sentence with the path and what the system said (no such folder, not writable, disk
// full).
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view characters);

  // Where the bytes are until commit(). A library that writes files by name (libzip, HDF5) may be
  // given this path, also to replace the file there; it must have closed it before commit().
  const std::filesystem::path& temporary() const { return temporary_; }
  const std::filesystem::path& path() const { return path_; }

  // flush, fsync, rename, fsync of the folder; nothing can be written afterwards
  void commit();

 private:
  void flush();

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::string buffer_;
  int descriptor_ = -1;
  bool committed_ = false;
};

// A file's bytes, read-only, mapped and not copied. It must be a regular file; an empty one is an
// empty span. The file must not be cut short by others while it is mapped.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// The whole of a small file. A file of more than max_bytes is an error.
std::string read_file(const std::filesystem::path& path, std::size_t max_bytes);

// Replaces the file by `contents`, atomically.
void write_file(const std::filesystem::path& path, std::string_view contents);

}  // namespace orrery
