#pragma once

#include <hdf5.h>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/function_ref.h"
#include "base/types.h"
#include "io/hdf5_handle.h"

namespace orrery {

// For hdf5.cpp only: the bytes that libhdf5 reads a file from. A file on disk (mapped) or in
// memory, with some bytes replaced on the way:
// - libhdf5 1.10, which Debian 12 has, refuses the type description of booleans that libhdf5 1.12
// to
//   2.0 write, although only its version number differs.
// - A file whose writer is at work or was killed says so in its first block; what was flushed
// before
//   is whole (HDF5's single-writer mode), and is read.
class Hdf5Source {
 public:
  explicit Hdf5Source(const std::filesystem::path& path);  // an Error when it cannot be read
  explicit Hdf5Source(std::span<const std::byte> file);    // copied
  Hdf5Source(const Hdf5Source&) = delete;
  Hdf5Source& operator=(const Hdf5Source&) = delete;

  i64 size() const { return static_cast<i64>(bytes_.size()); }
  // its writer is at work or was killed
  bool unfinished() const { return unfinished_; }
  // the bytes as stored, without what is replaced for libhdf5
  std::span<const std::byte> bytes() const { return bytes_; }
  // bytes [offset, offset + out.size()) as libhdf5 shall see them; zeros beyond the end
  void read(u64 offset, std::span<std::byte> out) const;

  // Opens it through libhdf5, read only; under the lock. Error with its reason when it cannot.
  Hdf5Handle open(const std::string& name);

  // Where libhdf5 would read values from: runs `body`, which makes it read them, and notes the
  // place of the last read of raw data instead of copying anything; under the lock. Nothing when
  // there was no such read. (H5Dget_chunk_info_by_coord walks through all chunks for each answer.)
  struct Place {
    u64 offset = 0;
    u64 bytes = 0;
  };
  std::optional<Place> place_read_by(FunctionRef<void()> body);
  // for the driver: true when a read of raw data is only to be noted
  bool note(u64 offset, u64 bytes);

  // Makes the type of the data set whose header is at `address` readable to libhdf5 1.10 where only
  // the version number stands in the way. True when something was replaced, which shows after the
  // next open().
  bool make_type_readable(u64 address);

 private:
  struct Patch {
    u64 offset;
    std::vector<std::byte> bytes;
  };

  void make_superblock_readable();

  std::optional<MappedFile> file_;
  std::vector<std::byte> memory_;
  std::span<const std::byte> bytes_;
  std::vector<Patch> patches_;
  bool unfinished_ = false;
  bool noting_ = false;
  std::optional<Place> noted_;
};

}  // namespace orrery
