#pragma once

#include <hdf5.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/types.h"
#include "io/hdf5_handle.h"

namespace orrery {

// For hdf5.cpp only: the bytes that libhdf5 reads a file from. A file on disk or in memory, with
// some bytes replaced on the way: libhdf5 1.10, which Debian 12 has, refuses the type description
// of booleans that libhdf5 1.12 to 2.0 write, although only its version number differs.
class Hdf5Source {
 public:
  explicit Hdf5Source(const std::filesystem::path& path);  // an Error when it cannot be read
  explicit Hdf5Source(std::span<const std::byte> file);    // copied
  ~Hdf5Source();
  Hdf5Source(const Hdf5Source&) = delete;
  Hdf5Source& operator=(const Hdf5Source&) = delete;

  i64 size() const { return size_; }
  // bytes [offset, offset + out.size()); zeros beyond the end. False when the system fails to read.
  bool read(u64 offset, std::span<std::byte> out) const;

  // Opens it through libhdf5, read only; under the lock.
  Hdf5Handle open(const std::string& name);

  // Makes the type of the data set whose header is at `address` readable to libhdf5 1.10 where only
  // the version number stands in the way. True when something was replaced, which shows after the
  // next open().
  bool make_type_readable(u64 address);

 private:
  struct Patch {
    u64 offset;
    std::vector<std::byte> bytes;
  };

  bool read_stored(u64 offset, std::span<std::byte> out) const;

  int descriptor_ = -1;
  std::vector<std::byte> memory_;
  i64 size_ = 0;
  std::vector<Patch> patches_;
};

}  // namespace orrery
