#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/blosc.h"
#include "io/hdf5_filters.h"
#include "io/pieces.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace orrery {

// The HDF5 that recordings are kept in: data sets at the root of a file, or in groups of it under
// names as "data/demo_0/actions", whose first axis is time.
// Values are numbers, of either byte order, or booleans (HDF5's enumeration of FALSE and TRUE); in
// one block, in the header, or in chunks of any shape, stored plainly or through the filters of
// io/hdf5_filters.h in any order, of which one at most packs. Chunks are found through libhdf5, so
// every index of the format is known (B-tree 1 and 2, fixed and extensible array, single,
// implicit).
//
// Refused, with one sentence that names file and data set: other filters, data kept in other files
// (external storage, virtual data sets), element types that are not numbers, a chunk that was never
// written where that stands for other values than zeros.
// No size in a file is trusted: what is allocated is bounded by the file's own size or by
// kMaxChunkBytes.
//
// libhdf5 is entered by one thread at a time (a lock inside), and once for each chunk: where a
// chunk lies is remembered, and its bytes are taken from the mapped file outside that lock. The
// file must not be cut short by others meanwhile.
//
// A file that is being written, or whose writer was killed, is read as it was flushed last.

// One chunk when decoded. The published recordings have 15 MB.
inline constexpr i64 kMaxChunkBytes = i64{1} << 30;

// Of a text beside the columns. An attribute in an object's header has less than this.
inline constexpr i64 kMaxHdf5Text = 65000;

struct Hdf5Column {
  std::string name;
  DType dtype = DType::f32;
  i64 rows = 0;
  Shape row;             // of one row; rank 0: a single number
  i64 chunk_rows = 0;    // 0: not chunked
  Shape chunk_row;       // of one row within a chunk; another than `row` where chunks cut rows
  bool swapped = false;  // chunks hold numbers of the other byte order
  std::vector<Hdf5Step> steps;  // what chunks went through, first to last
  std::string refusal;          // why it cannot be read, when it cannot; empty otherwise

  i64 row_bytes() const { return row.numel() * element_bytes(dtype); }
  // chunks are Blosc frames: some rows of one cost about their share
  bool blosc() const {
    return chunk_row == row && steps.size() == 1 && steps[0].filter == Hdf5Filter::blosc;
  }
  // rows are read as cheaply as from memory
  bool plain() const { return chunk_rows == 0 || (chunk_row == row && steps.empty()); }
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
  // its writer is at work or was killed
  bool unfinished() const;
  // in alphabetical order, also those that cannot be read
  const std::vector<Hdf5Column>& columns() const { return columns_; }
  // index of a column, or -1
  i64 find(std::string_view name) const;
  // A text kept with the file, in an attribute of its root: of at most kMaxHdf5Text bytes, stored
  // at a fixed length. Nothing when there is none of that name; an Error when it is anything else.
  std::optional<std::string> text_of(const char* name) const;

  // Rows begin, begin + stride, ... before end, one after the other, in the column's own type and
  // this machine's byte order; booleans are 0 and 1.
  void read(i64 column, i64 begin, i64 end, i64 stride, std::byte* out) const;
  // The whole chunk of a chunked column: chunk_rows rows, also where the column ends inside it.
  void read_chunk(i64 column, i64 chunk, std::byte* out) const;
  // Rows first, first + stride, ... before last of a chunk; of a column that is blosc() little more
  // than these is decoded, of one that is not plain() the whole chunk.
  void read_chunk_rows(i64 column, i64 chunk, i64 first, i64 last, i64 stride,
                       std::byte* out) const;

 private:
  struct Handles;
  struct Link {
    std::string name;
    u64 address;  // of the object's header in the file
  };

  void open();
  std::vector<Link> all_links() const;
  struct ChunkBytes;
  static Pieces pieces_of(const Hdf5Column& column);
  Hdf5Column describe(const std::string& column_name, i64 index);
  const Hdf5Column& readable(i64 column) const;
  ChunkBytes chunk_bytes(i64 column, i64 chunk, i64 piece) const;
  // the whole chunk as it is stored, in its own byte order
  void decode_chunk(i64 column, i64 chunk, std::span<std::byte> out) const;

  std::string name_;
  i64 file_bytes_ = 0;
  std::vector<Hdf5Column> columns_;
  std::unique_ptr<Handles> handles_;
};

// How far back a file's readers may date.
enum class Hdf5Age {
  v110,      // HDF5 1.10 (2016): chunks in extensible arrays, can be read while it is written
  earliest,  // HDF5 1.0 (1998): chunks in B-trees of version 1
};

// Writes a new file at `path`, column by column, append by append. Failures (a full disk) are
// Errors; the file is then unusable and `path` is the caller's to remove (AtomicFile does). Nothing
// is complete before close(), except what a flush() came after.
class Hdf5Writer {
 public:
  // `name`, when given, stands for the path in errors
  explicit Hdf5Writer(const std::filesystem::path& path, std::string name = {},
                      Hdf5Age age = Hdf5Age::v110);
  ~Hdf5Writer();
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;

  // Adds a column and returns its index. With `blosc`, chunks are such frames.
  i64 add_column(const std::string& name, DType dtype, const Shape& row, i64 chunk_rows,
                 const std::optional<BloscSettings>& blosc);
  // A text kept with the file, for Hdf5Reader::text_of; before the first flush().
  void set_text(const char* name, const std::string& value);
  // values [rows, row], in the column's type
  void append(i64 column, i64 rows, const void* values);
  // Rows of a column that are in the file; those of a Blosc chunk that is not full are not.
  i64 stored_rows(i64 column) const;
  // Hands all stored rows to the system, such that a reader that opens the file now, or after the
  // process was killed, finds them whole. The first call ends the adding of columns. Needs v110.
  void flush();
  void close();

 private:
  struct Column;
  struct Handles;

  void write_rows(Column& column, i64 rows, const std::byte* values);
  void write_blosc_chunk(Column& column);

  std::string name_;
  std::vector<std::unique_ptr<Column>> columns_;
  std::unique_ptr<Handles> handles_;
  bool shared_ = false;  // with readers
};

}  // namespace orrery
