#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/atomic_file.h"
#include "tensor/tensor.h"

namespace orrery {

// Tables in Apache Parquet, as LeRobot keeps its numbers: Debian 12 has no library for it, and what
// is needed of the format is small. Read: booleans, int32, int64, float, double, and lists of them
// with as many values in every row; pages of version 1 and 2, plain or by dictionary, plain,
// snappy, gzip or zstd; a missing number is NaN where the type has one.
//
// Columns of other kinds (text, records, lists that differ in length, other encodings) carry a
// refusal. No size in a file is trusted.
//
// Format: https://parquet.apache.org/docs/file-format/
struct ParquetColumn {
  std::string name;  // of the outermost field
  DType dtype = DType::f32;
  bool list = false;
  std::string refusal;  // why it cannot be read, when that shows in the schema; empty otherwise
};

class ParquetReader {
 public:
  explicit ParquetReader(const std::filesystem::path& path);
  // `file` must outlive the reader; `name` stands for the path in errors
  ParquetReader(std::span<const std::byte> file, std::string name);

  const std::string& name() const { return name_; }
  i64 rows() const { return rows_; }
  const std::vector<ParquetColumn>& columns() const { return columns_; }
  // index of a column, or -1
  i64 find(std::string_view name) const;

  // All rows: [rows], or [rows, width] of a list.
  Tensor read(i64 column) const;

 private:
  // a column within a row group
  struct Piece {
    i64 begin = 0;  // of its pages in the file
    i64 bytes = 0;
    i64 rows = 0;
    i64 values = 0;
    int codec = 0;
  };
  struct Leaf {
    int type = 0;
    int max_definition = 0;  // level at which a value is there
    int max_repetition = 0;  // levels of lists
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
