#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace orrery {

// The HDF5 that recordings are kept in: data sets at the root of a file, whose first axis is time.
// Values are numbers or booleans (HDF5's enumeration of FALSE and TRUE); chunks are stored plainly
// or as Blosc frames (filter 32001).
//
// Refused, with one sentence that names file and data set: other filters, data kept in other files
// (external storage, virtual data sets), chunks that cut a row, element types that are not numbers.
// No size in a file is trusted: what is allocated is bounded by the file's own size or by
// kMaxChunkBytes.
//
// libhdf5 is entered by one thread at a time (a lock inside); decoding Blosc happens outside that
// lock.

// One chunk when decoded. The published recordings have 15 MB.
inline constexpr i64 kMaxChunkBytes = i64{1} << 30;

struct Hdf5Column {
  std::string name;
  DType dtype = DType::f32;
  i64 rows = 0;
  Shape row;            // of one row; rank 0: a single number
  i64 chunk_rows = 0;   // 0: not chunked
  bool blosc = false;   // chunks are Blosc frames
  std::string refusal;  // why it cannot be read, when it cannot; empty otherwise

  i64 row_bytes() const { return row.numel() * element_bytes(dtype); }
};

class Hdf5Reader {
 public:
  explicit Hdf5Reader(const std::filesystem::path& path);
  // A whole file in memory; the bytes are copied. `name` stands for the path in errors.
  Hdf5Reader(std::span<const std::byte> file, std::string name);
  ~Hdf5Reader();
  Hdf5Reader(const Hdf5Reader&) = delete;
  Hdf5Reader& operator=(const Hdf5Reader&) = delete;

  const std::string& name() const { return name_; }
  // in alphabetical order, also those that cannot be read
  const std::vector<Hdf5Column>& columns() const { return columns_; }
  // index of a column, or -1
  i64 find(std::string_view name) const;

  // Rows begin, begin + stride, ... before end, one after the other, in the column's own type and
  // this machine's byte order; booleans are 0 and 1.
  void read(i64 column, i64 begin, i64 end, i64 stride, std::byte* out) const;
  // The whole chunk of a chunked column: chunk_rows rows, also where the column ends inside it.
  void read_chunk(i64 column, i64 chunk, std::byte* out) const;

 private:
  struct Handles;
  struct Link {
    std::string name;
    u64 address;  // of the object's header in the file
  };

  void open();
  std::vector<Link> root_links() const;
  Hdf5Column describe(const std::string& column_name, i64 index);
  const Hdf5Column& readable(i64 column) const;

  std::string name_;
  i64 file_bytes_ = 0;
  std::vector<Hdf5Column> columns_;
  std::unique_ptr<Handles> handles_;
};

// Writes a new file at `path`, column by column, append by append. Files are of HDF5 1.10's format,
// which h5py reads in its multiple-reader mode too. Failures (a full disk) are Errors; the file is
// then unusable and `path` is the caller's to remove (AtomicFile does). Nothing is complete before
// close().
class Hdf5Writer {
 public:
  // `name`, when given, stands for the path in errors
  explicit Hdf5Writer(const std::filesystem::path& path, std::string name = {});
  ~Hdf5Writer();
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;

  // Adds a column and returns its index. With `blosc`, chunks are Blosc frames: LZ4, level 5, byte
  // shuffle.
  i64 add_column(const std::string& name, DType dtype, const Shape& row, i64 chunk_rows,
                 bool blosc);
  // values [rows, row], in the column's type
  void append(i64 column, i64 rows, const void* values);
  void close();

 private:
  struct Column;
  struct Handles;

  void write_rows(Column& column, i64 rows, const std::byte* values);
  void write_blosc_chunk(Column& column);

  std::string name_;
  std::vector<std::unique_ptr<Column>> columns_;
  std::unique_ptr<Handles> handles_;
};

}  // namespace orrery
