#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/atomic_file.h"
#include "base/function_ref.h"
#include "io/parquet_page.h"
#include "tensor/tensor.h"

namespace orrery {

// Tables in Apache Parquet, as LeRobot keeps its numbers: Debian 12 has no library for it, and what
// is needed of the format is small. Read: booleans, int32, int64, float, double, and lists of them
// with as many values in every row; pages of version 1 and 2, plain or by dictionary, plain,
// snappy, gzip or zstd; a missing number is NaN where the type has one.
//
// Byte strings (text, and the pictures that LeRobot embeds) are read row by row, plain or by
// dictionary. Columns of other kinds (lists that differ in length, other encodings) carry a
// refusal. A record is a column for each of its fields. No size in a file is trusted.
//
// Format: https://parquet.apache.org/docs/file-format/
struct ParquetColumn {
  std::string name;   // of the outermost field
  std::string field;  // of the innermost: in a record, what it is called there
  DType dtype = DType::f32;
  bool list = false;
  bool blob = false;    // byte strings, for read_blobs()
  std::string refusal;  // why read() cannot read it, when that shows in the schema; empty otherwise
};

class ParquetReader {
 public:
  explicit ParquetReader(const std::filesystem::path& path);
  // `file` must outlive the reader; `name` stands for the path in errors
  ParquetReader(std::span<const std::byte> file, std::string name);

  const std::string& name() const { return name_; }
  i64 rows() const { return rows_; }
  const std::vector<ParquetColumn>& columns() const { return columns_; }
  // index of a column, or -1; the first of a record, or the one of a field
  i64 find(std::string_view name) const;
  i64 find(std::string_view name, std::string_view field) const;

  // All rows: [rows], or [rows, width] of a list.
  Tensor read(i64 column) const;
  // The byte strings of rows [begin, end), in order, each valid during the call; one that is
  // missing is empty. Only the pages that hold these rows are unpacked, and the row group's
  // dictionary.
  using TakeBlob = FunctionRef<void(i64 row, std::span<const std::byte> blob)>;
  void read_blobs(i64 column, i64 begin, i64 end, TakeBlob take) const;

 private:
  using Piece = parquet::Piece;
  struct Leaf {
    int type = 0;
    parquet::Levels levels;
    std::vector<Piece> pieces;
  };
  class Values;

  void open();
  void read_piece(const Leaf& leaf, const ParquetColumn& column, const Piece& piece,
                  Values& out) const;

  std::optional<MappedFile> mapped_;
  std::span<const std::byte> file_;
  std::string name_;
  i64 rows_ = 0;
  std::vector<ParquetColumn> columns_;
  std::vector<Leaf> leaves_;  // by column
};

}  // namespace orrery
